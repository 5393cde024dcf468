const page = document.getElementById("swagger-ui");

window.ui = SwaggerUIBundle({
  url: page.dataset.contract,
  domNode: page,
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelExpandDepth: 4,
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null,
});

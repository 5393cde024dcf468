// Light or dark as the system says, until the reader chooses otherwise. Runs before the first paint.
(() => {
  const KEY = "contractapp.theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = stored();

  // A browser that blocks site data throws; the choice then lasts as long as the page.
  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  }

  function keep() {
    try {
      if (chosen === null) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, chosen);
    } catch {}
  }

  function isDark() {
    return chosen === null ? system.matches : chosen === "dark";
  }

  function apply() {
    document.documentElement.classList.toggle("dark-mode", isDark());
  }

  // A choice that is also the system's is not kept: the page follows the system again.
  function choose() {
    const dark = !isDark();
    chosen = dark === system.matches ? null : dark ? "dark" : "light";
    keep();
    apply();
  }

  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", () => {
    chosen = stored();
    apply();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#theme")) choose();
  });
})();

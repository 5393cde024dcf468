// What a reader sees of a page, measured in it. Evaluates to an object of functions.
(() => {
  const THRESHOLD = { normal: 4.5, large: 3 }; // WCAG 2.2, success criterion 1.4.3

  function parse(color) {
    const numbers = color.match(/-?[\d.]+(e-?\d+)?/g).map(Number);
    const [red, green, blue, alpha = 1] = numbers;
    return color.startsWith("color(srgb") ? [red * 255, green * 255, blue * 255, alpha] : [red, green, blue, alpha];
  }

  function over([red, green, blue, alpha], below) {
    return [red, green, blue].map((channel, index) => channel * alpha + below[index] * (1 - alpha));
  }

  function luminance(rgb) {
    const [red, green, blue] = rgb.map((channel) => {
      const value = channel / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  function ratio(one, other) {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  }

  function ancestors(element) {
    const found = [];
    for (let node = element; node; node = node.parentElement) found.unshift(node);
    return found;
  }

  // The colours of the text and of what is behind it, with every background and opacity from the root down to it.
  function shown(element, color) {
    const paint = ([first, ...rest], backdrop) => {
      const style = getComputedStyle(first);
      const below = over(parse(style.backgroundColor), backdrop);
      const inner = rest.length ? paint(rest, below) : { text: over(parse(color), below), behind: below };
      const faded = (pixel) => over([...pixel, Number(style.opacity)], backdrop);
      return { text: faded(inner.text), behind: faded(inner.behind) };
    };
    return paint(ancestors(element), [255, 255, 255]);
  }

  function isVisible(element) {
    const box = element.getBoundingClientRect();
    const isShown = element.checkVisibility({ checkVisibilityCSS: true });
    return isShown && box.width > 1 && box.height > 1 && !element.closest(":disabled, [aria-disabled=true], svg");
  }

  // Every text that is shown: [element, text, style].
  function* texts() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      const text = walker.currentNode.data.trim();
      if (text && !element.closest("script, style, noscript, option, textarea") && isVisible(element)) {
        yield [element, text, getComputedStyle(element)];
      }
    }
    for (const element of document.querySelectorAll("select, input, textarea")) {
      if (!isVisible(element)) continue;
      const isEmpty = !element.value;
      const text = element.selectedOptions?.[0]?.text ?? (element.value || element.placeholder);
      if (text) yield [element, text, getComputedStyle(element, isEmpty ? "::placeholder" : null)];
    }
    for (const element of document.body.querySelectorAll("*")) {
      for (const part of ["::before", "::after"]) {
        const style = getComputedStyle(element, part);
        if (/^".*[^\s"].*"/.test(style.content) && isVisible(element)) yield [element, style.content, style];
      }
    }
  }

  function hex(rgb) {
    return "#" + rgb.map((channel) => Math.round(channel).toString(16).padStart(2, "0")).join("");
  }

  // The texts with less contrast than WCAG asks for, by what they are and how they look.
  function lowContrast() {
    const found = {};
    for (const [element, text, style] of texts()) {
      const placeholderOpacity = style.opacity === getComputedStyle(element).opacity ? 1 : Number(style.opacity);
      const [red, green, blue, alpha] = parse(style.color);
      const color = `rgba(${red}, ${green}, ${blue}, ${alpha * placeholderOpacity})`;
      const { text: front, behind } = shown(element, color);
      const size = parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const contrast = ratio(front, behind);
      if (contrast < (isLarge ? THRESHOLD.large : THRESHOLD.normal)) {
        const place = `${describe(element.parentElement)} > ${describe(element)}`;
        found[`${place}: ${hex(front)} on ${hex(behind)} is ${contrast.toFixed(2)}`] ??= text.slice(0, 40);
      }
    }
    return found;
  }

  function describe(element) {
    return `${element.tagName.toLowerCase()}.${[...element.classList].join(".")}`;
  }

  // The selects that are too narrow for one of their options.
  function cutSelects() {
    const context = document.createElement("canvas").getContext("2d");
    const found = [];
    for (const select of [...document.querySelectorAll("select")].filter(isVisible)) {
      const style = getComputedStyle(select);
      context.font = style.font;
      const room = select.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
      for (const { text } of select.options) if (context.measureText(text).width > room + 1) found.push(text);
    }
    return found;
  }

  function contents(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    return range.getBoundingClientRect();
  }

  // The cells of tables whose content comes closer than 8 px to that of the cell to its right.
  function touchingCells() {
    const found = [];
    for (const cell of [...document.querySelectorAll("td, th")].filter(isVisible)) {
      const next = cell.nextElementSibling;
      if (!next || !isVisible(next)) continue;
      const [one, other] = [contents(cell), contents(next)];
      const isBeside = one.width && other.width && one.top < other.bottom && other.top < one.bottom;
      if (isBeside && other.left - one.right < 8) found.push(`${cell.innerText} | ${next.innerText}`);
    }
    return found;
  }

  // The buttons, fields, texts and cells that stick out of the box of their operation, unless the reader can scroll there.
  function sticking() {
    const found = [];
    for (const card of document.querySelectorAll(".opblock")) {
      const frame = card.getBoundingClientRect();
      for (const element of [...card.querySelectorAll("button, select, input, textarea, p, td, pre")].filter(isVisible)) {
        const box = element.getBoundingClientRect();
        if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5) found.push(describe(element));
      }
    }
    return found;
  }

  // The height in px of the tallest empty strip in the left half of the responses, by status.
  function holes() {
    const found = {};
    for (const row of document.querySelectorAll("tr.response[data-code]")) {
      const left = row.querySelector(".response-col_description").getBoundingClientRect().left;
      const { top, bottom, right } = row.getBoundingClientRect();
      const leaves = [...row.querySelectorAll(":not(.response-col_status):not(:has(:not(br)))")].filter(isVisible);
      const strips = leaves
        .map((leaf) => leaf.getBoundingClientRect())
        .filter((box) => box.left < (left + right) / 2)
        .sort((one, other) => one.top - other.top);
      let [end, tallest] = [top, 0];
      for (const strip of [...strips, { top: bottom, bottom }]) {
        tallest = Math.max(tallest, strip.top - end);
        end = Math.max(end, strip.bottom);
      }
      found[row.dataset.code] = Math.max(Math.round(tallest), found[row.dataset.code] ?? 0);
    }
    return found;
  }

  // The operations whose row is completely on the first screen.
  function onFirstScreen() {
    return [...document.querySelectorAll(".opblock-summary")].filter((summary) => {
      const { top, bottom } = summary.getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    }).length;
  }

  return { lowContrast, cutSelects, touchingCells, sticking, holes, onFirstScreen };
})()

// What is wrong with how a page looks: sideways scrolling, texts that are hard to read. Runs in the page.
() => {
  const flaws = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) flaws.push(`the page is ${root.scrollWidth} pixels wide in a window of ${root.clientWidth}`);
  const parsed = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  // The nearest background that is there; these pages have none that is half transparent.
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parsed(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const seen = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest(".hidden, option, title") || !element.checkVisibility() || element.closest("[disabled]")) continue;
    const style = getComputedStyle(element);
    const [one, other] = [luminance(parsed(element.closest("svg") ? style.fill : style.color)), luminance(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const flaw = `"${node.data.trim().slice(0, 40)}" has a contrast of ${contrast.toFixed(1)}, less than 4.5`;
    if (contrast < 4.5 && !seen.has(flaw)) flaws.push(flaw);
    seen.add(flaw);
  }
  return flaws;
}

// Elements out of data. A text is always a text: nothing here, or anywhere in these files, reads HTML.
const SVG = new Set(["svg", "g", "rect", "text", "line", "path", "title", "circle"]);

/** Make an element: attributes, `on…` handlers, and children, of which null and false are left out. */
export function h(tag, attributes, ...children) {
  const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put children into an element in place of what it has; whatever had the focus has it again. */
export function fill(element, ...children) {
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const opened = new Set([...element.querySelectorAll("details[open]")].map((one) => one.dataset.key));
  element.replaceChildren(...children.flat(2).filter(Boolean));
  for (const one of element.querySelectorAll("details")) if (one.dataset.key && opened.has(one.dataset.key)) one.open = true;
  if (key) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

const PAGE = new URL(location.pathname, location.origin);
/** Where Airflow itself begins. */
export const AIRFLOW = new URL("../", PAGE);
/** Whether this is a frame of Airflow's UI. */
export const FRAMED = window.parent !== window;

// A frame of Airflow's may neither open windows nor lead away from the page around it. A link of that page may.
function follow(event, address, apart) {
  const another = apart || event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1;
  if (!FRAMED && !another) return;
  event.preventDefault();
  const around = window.parent.document;
  const link = around.createElement("a");
  link.href = address;
  if (another) { link.target = "_blank"; link.rel = "noopener noreferrer"; }
  around.body.append(link);
  link.click();
  link.remove();
}

/** A link to a page of Airflow: `path` in parts, each of which may be any text. */
export function airflowLink(path, query, ...children) {
  const address = new URL(path.map(encodeURIComponent).join("/"), AIRFLOW);
  for (const [name, value] of Object.entries(query ?? {})) address.searchParams.set(name, value);
  const click = (event) => follow(event, address.href, false);
  return h("a", { href: address.href, onclick: click, onauxclick: click }, ...children);
}

/** A link to another site, in a window of its own; what is not https stays a text. */
export function foreignLink(address, ...children) {
  let url = null;
  try { url = new URL(address); } catch { /* no address */ }
  if (url?.protocol !== "https:") return h("span", { title: address ?? "" }, ...children);
  const click = (event) => follow(event, url.href, true);
  return h("a", { href: url.href, rel: "noopener noreferrer", onclick: click, onauxclick: click }, ...children, " ↗");
}

/** The address of one of our own pages, for a link. */
export function to(view, parameters = {}) {
  const said = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(said).toString();
  return `#${view}${query ? `?${query}` : ""}`;
}

export const pageLink = (view, parameters, ...children) => h("a", { href: to(view, parameters) }, ...children);

/** Which page is asked for, and with which parameters. */
export function asked() {
  const [view, query] = location.hash.slice(1).split(/\?(.*)/s);
  return { view: view || "batches", parameters: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

const STATUSES = {
  NEW: ["Waiting", "○"], PROCESSING: ["Running", "▶"], SUCCESS: ["Succeeded", "✓"],
  ERROR: ["Failed", "✕"], SKIPPED: ["Skipped", "↷"], BLOCKED: ["Blocked", "■"],
};
export const word = (status) => STATUSES[status]?.[0] ?? status;
export const chip = (status, text) => h("span", { class: `chip s-${status}`, title: status },
  h("span", { "aria-hidden": "true" }, STATUSES[status]?.[1] ?? "•"), ` ${text ?? word(status)}`);

/** Long texts end where the line does; a click shows all of them. */
export function longText(text, key, lines = 160) {
  if (!text) return "";
  if (text.length <= lines && !text.includes("\n")) return h("span", { class: "error-text" }, text);
  const first = text.split("\n", 1)[0];
  return h("details", { "data-key": key }, h("summary", { class: "error-text" }, first.length > lines ? `${first.slice(0, lines)}…` : first), h("pre", null, text));
}

/** A table of which each cell knows its column's name, for narrow screens. */
export function table(columns, rows, caption) {
  const head = h("tr", null, ...columns.map((name) => h("th", { scope: "col" }, name)));
  const body = rows.map(({ cells, ...attributes }) => h("tr", attributes,
    ...cells.map((cell, index) => h("td", { "data-label": columns[index] }, ...[cell].flat()))));
  return h("div", { class: "scroll" }, h("table", null, h("caption", { class: "hidden" }, caption), h("thead", null, head), h("tbody", null, ...body)));
}

export const facts = (pairs) => h("dl", { class: "facts" }, ...Object.entries(pairs)
  .filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, ...[value].flat()))));

export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Show the one dialog; returns what closes it. */
export function showDialog(title, ...children) {
  const dialog = document.getElementById("dialog");
  const close = () => dialog.close();
  dialog.replaceChildren(h("header", null, h("h2", null, title), h("button", { onclick: close, "aria-label": "Close" }, "✕")), ...children);
  if (!dialog.open) dialog.showModal();
  return close;
}

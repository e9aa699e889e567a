// What the doctor says, worst first.
import { ask, live, refusal } from "./ask.js";
import { fill, h, plural, table } from "./dom.js";
import { when } from "./times.js";

const ORDER = ["error", "warning", "unknown", "ok"];
const KINDS = { error: ["s-ERROR", "✕ error"], warning: ["s-BLOCKED", "! warning"], unknown: ["s-NEW", "? not seen from here"], ok: ["s-SUCCESS", "✓ ok"] };

export function show(root, _parameters, { signal }) {
  const page = h("article");
  fill(root, h("h1", { class: "hidden" }, "Health"), page);
  const load = async () => {
    const found = await ask("health", {}, { signal });
    fill(page, ...(found.seen_at ? parts(found) : [h("p", { class: "muted", role: "status" }, "The doctor looks at everything; this takes some seconds …")]));
    return found.looking ? 1.5 : 15;
  };
  live(15, signal, load, (error) => fill(page, refusal(error)));
}

function parts({ findings, seen_at, looking }) {
  const bad = findings.filter((one) => one.state === "error").length;
  const sorted = [...findings].sort((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state));
  return [
    h("p", { class: `callout ${bad ? "bad" : "good"}` }, bad ? `${plural(bad, "check")} found an error.` : "No check found an error."),
    table(["Check", "State", "Seen", "What to do"], sorted.map((one) => ({ cells: [one.check, h("span", { class: `chip ${KINDS[one.state][0]}` }, KINDS[one.state][1]), one.seen, one.remedy] })), "Findings of the doctor"),
    h("footer", { class: "muted" }, "Seen from this API server ", when(seen_at), looking ? ", looking again …" : ""),
  ];
}

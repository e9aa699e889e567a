// Definitions: what is wrong with which row, what Airflow has instead, and a workflow as graph and as YAML.
import { ask, askAirflow, live, refusal } from "./ask.js";
import { airflowLink, facts, fill, h, longText, pageLink, plural, table } from "./dom.js";
import { graph } from "./graph.js";
import { ago, when } from "./times.js";

const SECONDS = 20;
const USED = { current: ["s-SUCCESS", "✓ current"], "last good": ["s-BLOCKED", "last good definition"], none: ["s-ERROR", "no DAG"] };
const chip = (kind, text, title) => h("span", { class: `chip ${kind}`, title }, text);

/** Whether what the rows say is what Airflow runs. */
function standing(one) {
  const shown = [];
  if (one.problem_count) shown.push(chip("s-ERROR", `✕ ${plural(one.problem_count, "problem")}`));
  if (USED[one.used] && (one.used !== "current" || !one.problem_count)) shown.push(" ", chip(USED[one.used][0], USED[one.used][1], one.used === "last good" ? "Airflow's DAG is built from older rows than these" : ""));
  if (!one.used && !one.problem_count) shown.push(chip("s-SUCCESS", "✓ no problems"));
  if (one.enabled === false) shown.push(" ", chip("s-SKIPPED", "disabled"));
  return shown;
}

export function show(root, parameters, { signal, name }) {
  const page = h("article");
  fill(root, page);
  let before = "";
  const load = async () => {
    const one = name === "definition";
    const found = await ask(one ? "definition" : "definitions", one ? { workflow_id: parameters.workflow } : {}, { signal });
    const { checked_at: _, ...rest } = found;
    if (JSON.stringify(rest) === before) return;
    before = JSON.stringify(rest);
    fill(page, ...(one ? detail(found, signal) : list(found)));
  };
  live(SECONDS, signal, load, (error) => { before = ""; fill(page, refusal(error)); });
}

function list(found) {
  const bad = found.workflows.filter((one) => one.problem_count);
  const rest = found.workflows.filter((one) => !one.problem_count);
  return [
    h("h1", { class: "hidden" }, "Definitions"),
    found.unchecked && h("p", { class: "callout" }, found.unchecked),
    found.problems.length > 0 && h("section", null, h("h2", null, plural(found.problems.length, "problem")), problems(found.problems, true)),
    h("section", null, h("h2", null, plural(found.workflows.length, "workflow")),
      found.workflows.length ? table(["Workflow", "Standing", "Tasks", "Schedule", "Owner"], [...bad, ...rest].map((one) => ({ cells: [
        [pageLink("definition", { workflow: one.workflow_id }, one.workflow_id), one.description ? h("div", { class: "muted clamp" }, one.description) : null],
        standing(one), String(one.tasks), one.schedule ? h("span", { title: one.timezone }, one.schedule) : one.file_pattern ? h("span", { class: "id" }, one.file_pattern) : h("span", { class: "muted" }, "by messages"), one.owner ?? "",
      ] })), "Workflows, those with problems first") : h("div", { class: "empty" }, h("p", null, "No workflows that you may see."), h("p", { class: "muted" }, "`accelerator import FILE` stores some."))),
    h("footer", { class: "muted" }, found.unchecked ? "" : found.by_last_parse ? "Problems are those of the last parse of the DAG file. " : "Problems are those of the rows as they are; what only a parse can tell is on Airflow's list of import errors. ", "Checked ", when(found.checked_at)),
  ];
}

function problems(found, named) {
  const columns = [...(named ? ["Workflow"] : []), "Row", "Column", "What is wrong, and what to do"];
  return table(columns, found.map((one, index) => ({ cells: [
    ...(named ? [one.workflow_id ? pageLink("definition", { workflow: one.workflow_id }, one.workflow_id) : h("span", { class: "muted" }, "all")] : []),
    h("span", { class: "id" }, one.row), h("span", { class: "id" }, one.column), longText(one.message, `problem ${index} ${one.row}`, 300),
  ] })), "Problems");
}

function detail(found, signal) {
  const wrong = new Set(found.problems.map((one) => one.row.replace(/^tasks row /, "")));
  const airflow = h("span", null, "…");
  inAirflow(found.workflow_id, signal).then((shown) => fill(airflow, ...shown), (error) => { if (error.name !== "AbortError") fill(airflow, error.message); });
  const drawn = found.rows.tasks.length ? found.rows : found.last_good ?? found.rows;
  return [
    h("header", { class: "batch-head" }, h("div", { class: "title" }, h("div", null, h("h1", { class: "id" }, found.workflow_id), standing(found))),
      facts({ "In Airflow": airflow, Links: h("span", null, airflowLink(["dags", found.workflow_id], null, "Open the DAG in Airflow"), " · ", pageLink("batches", { workflow: found.workflow_id }, "Its batches")) })),
    found.used === "last good" && h("p", { class: "callout" }, found.problems.length ? "These rows cannot be used, so Airflow's DAG is built from the last good ones." : "These rows are newer than Airflow's DAG: the next parse takes them, or waits for `accelerator confirm` where much is lost at once."),
    found.problems.length > 0 && h("section", null, h("h2", null, plural(found.problems.length, "problem")), problems(found.problems, false)),
    h("section", null, h("h2", null, "Graph"), graph(drawn, wrong)),
    found.rows.yaml && h("section", null, h("h2", null, "Rows as YAML"), h("pre", null, found.rows.yaml)),
    found.last_good && h("section", null, h("h2", null, "Last good definition"), h("pre", null, found.last_good.yaml)),
  ];
}

async function inAirflow(workflow, signal) {
  const dag = await askAirflow(["dags", workflow], { signal }).catch((error) => { if (error.status !== 404) throw error; });
  if (!dag) return ["no DAG yet"];
  return [dag.is_stale ? "gone from its DAG file" : dag.is_paused ? "paused" : "active", dag.last_parsed_time ? `, parsed ${ago(dag.last_parsed_time)}` : ""];
}

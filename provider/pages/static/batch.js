// One batch: what failed and why, when what ran, every try, and what did not run for which reason.
import { Refusal, ask, askAirflow, live, refusal, sent } from "./ask.js";
import { airflowLink, chip, facts, fill, foreignLink, h, longText, pageLink, plural, showDialog, table, word } from "./dom.js";
import { progress } from "./batches.js";
import { gantt } from "./gantt.js";
import { asOf, took, when } from "./times.js";

const SECONDS = 5;
const SECONDS_ENDED = 20;

export function show(root, { dag_id, run_id }, { signal, inTab }) {
  const page = h("article", { class: "batch" });
  const actions = h("div", { class: "actions" });
  fill(root, page);
  let before = "";
  const load = async () => {
    const found = await ask("batch", { dag_id, run_id }, { signal });
    const over = Boolean(found.batch.ended_at);
    const { record_current_at: _, ...rows } = found;
    const now = JSON.stringify(rows);
    if (now !== before || !over) fill(page, ...parts(found, actions, inTab, signal));
    page.querySelector("footer").replaceChildren(asOf(found.record_current_at));
    before = now;
    offer(actions, found, turn);
    return over ? SECONDS_ENDED : SECONDS;
  };
  const turn = live(SECONDS, signal, load, (error) => {
    before = "";
    fill(page, error.status === 404 && inTab ? noBatch() : refusal(error));
  });
}

const noBatch = () => h("div", { class: "empty" }, h("p", null, "This run is no task batch."),
  h("p", { class: "muted" }, "Batches are runs of workflows that come out of the tables. One that has just started is here after a few seconds."));

const grouped = (rows, key) => [...Map.groupBy(rows, key).values()];
/** The tries of each task instance. */
const instancesOf = (tries) => grouped(tries, (one) => `${one.task_id}\n${one.map_index}`);

/** Whether a try took a worker. Airflow gives what it blocks or skips by itself a start, too. */
export const ran = (one) => one.started_at && one.status !== "BLOCKED" && !(one.status === "SKIPPED" && ["scope", "upstream"].includes(one.end_cause));

export const taskName = (one) => (one.map_index < 0 ? one.task_id : `${one.task_id} [${one.map_index}]`);

function parts(found, actions, inTab, signal) {
  const { batch, tries } = found;
  const instances = instancesOf(tries);
  const last = instances.map((all) => all.at(-1));
  const failed = last.filter((one) => one.status === "ERROR");
  const began = instances.filter((all) => all.some(ran));
  const idle = last.filter((one) => ["SKIPPED", "BLOCKED", "NEW"].includes(one.status));
  const counts = {};
  for (const one of last) counts[one.status] = (counts[one.status] ?? 0) + 1;
  return [
    heading(found, actions, inTab),
    // The batch's error repeats what its failed tasks say below, where it says no more than they do.
    batch.error && !failed.some((one) => one.error_message && batch.error.includes(one.error_message.split("\n", 1)[0])) && h("p", { class: "callout bad", role: "alert" }, longText(batch.error, "batch-error", 600)),
    failed.length > 0 && section(`${plural(failed.length, "task")} failed`, ...grouped(failed, (one) => errorOf(one, found.causes)).map((all) => failure(batch, all, found.causes))),
    h("div", { class: "summary" }, progress(counts)),
    began.length > 0 && section("When", gantt(found, began, signal)),
    idle.length > 0 && section("Not run", didNotRun(batch, idle, found.causes)),
    began.length > 0 && section("Tries", triesTable(batch, began.flat(), found.causes)),
    found.more_tries && h("p", { class: "callout" }, "There are more tries than a page can show; `accelerator logs` lists all."),
    h("footer"),
  ];
}

const section = (title, ...content) => h("section", null, h("h2", null, title), ...content);

function heading({ batch, requests, causes }, actions, inTab) {
  const params = Object.entries(batch.params ?? {});
  const scope = [batch.scope, batch.start_task_ids?.length ? `from ${batch.start_task_ids.join(", ")}` : ""].filter(Boolean).join(" ");
  const run = airflowLink(["dags", batch.workflow_id, "runs", batch.batch_id], null, "Open the run in Airflow");
  return h("header", { class: "batch-head" },
    h("div", { class: "title" }, chip(batch.status), h("div", null, h("h1", { class: "id" }, batch.batch_id),
      h("div", { class: "muted id" }, inTab ? batch.workflow_id : pageLink("batches", { workflow: batch.workflow_id }, batch.workflow_id))),
      h("div", { class: "actions" }, batch.ended_at ? null : h("button", { onclick: () => explain(batch), "data-key": "why" }, "Why does it wait?"), actions)),
    facts({
      Started: batch.started_at ? when(batch.started_at) : batch.ended_at ? "never" : "not yet",
      Ended: when(batch.ended_at),
      Took: took(batch.started_at, batch.ended_at),
      "Ended by": endedBy(batch, causes),
      "Started by": batch.source ?? "",
      Scope: scope,
      Params: params.length ? h("span", { class: "id" }, params.map(([name, value]) => `${name} = ${typeof value === "string" ? value : JSON.stringify(value)}`).join(" · ")) : "",
      Messages: requests.length ? requests.map((one, index) => [index ? ", " : "", pageLink("requests", { id: one.id, state: "all" }, `${one.kind === "completion" ? `end of ${one.task_id}` : one.kind} ${one.message_id}`)]).flat() : "",
      Links: h("span", null, inTab ? null : run, inTab ? null : " · ", pageLink("definition", { workflow: batch.workflow_id }, "Definition")),
    }));
}

/** What ended a row, and who where it was a person. What ended by itself needs no word. */
function endedBy(row, causes) {
  if (!row.end_cause || row.end_cause === "task") return "";
  return h("span", { title: causes[row.end_cause] ?? "" }, row.end_cause.replaceAll("_", " "), row.ended_by ? ` by ${row.ended_by}` : "");
}

const placeOf = (batch, one) => ["dags", batch.workflow_id, "runs", batch.batch_id, "tasks", one.task_id, ...(one.map_index < 0 ? [] : ["mapped", one.map_index])];

function links(batch, one) {
  const job = one.remote_job_url ? foreignLink(one.remote_job_url, "remote job") : one.remote_job_id && h("span", { class: "muted id", title: "remote job" }, one.remote_job_id);
  return h("span", { class: "links" }, one.started_at ? airflowLink(placeOf(batch, one), { try_number: one.try_number }, "log") : null, job);
}

/** What failed in the same words, once. */
const failure = (batch, all, causes) => h("div", { class: "failure" }, all.length > 1 && longText(errorOf(all[0], causes), `failure ${taskName(all[0])}`, 300), ...all.map((one) => h("div", null, h("strong", { class: "id" }, taskName(one)), h("span", { class: "muted" }, ` try ${one.try_number} · `, took(one.started_at, one.ended_at), " · ", endedBy(one, causes) || "failed"), " ", links(batch, one))),
  all.length === 1 && longText(errorOf(all[0], causes), `failure ${taskName(all[0])}`, 300));

const errorOf = (one, causes) => one.error_message ?? causes[one.end_cause] ?? "It does not say why; see its log.";

function didNotRun(batch, idle, causes) {
  const why = (one) => one.error_message ?? (one.status === "NEW" ? (batch.ended_at ? "the batch ended before it began" : `waits${one.airflow_state ? `: Airflow has it ${one.airflow_state}` : " for the tasks before it"}`) : causes[one.end_cause] ?? "");
  const name = (one) => h("span", { class: "id name" }, one.started_at && one.status === "SKIPPED" ? airflowLink(placeOf(batch, one), { try_number: one.try_number }, taskName(one)) : taskName(one));
  return table(["Tasks", "Status", "Why"], grouped(idle, (one) => `${one.status}\n${why(one)}`).map((all) => ({
    cells: [all.map(name), chip(all[0].status, all.length > 1 ? `${word(all[0].status)} (${all.length})` : null), longText(why(all[0]), `why ${taskName(all[0])}`)] })), "Tasks that did not run, with the reason");
}

function triesTable(batch, tries, causes) {
  const row = (one) => ({
    id: `try-${one.task_id}-${one.map_index}`,
    cells: [h("span", { class: "id" }, taskName(one)), String(one.try_number), chip(one.status), when(one.started_at), took(one.started_at, one.ended_at), [endedBy(one, causes)],
      [longText(one.status === "ERROR" || one.status === "SKIPPED" ? one.error_message : "", `try ${taskName(one)} ${one.try_number}`), " ", links(batch, one)]],
  });
  return table(["Task", "Try", "Status", "Started", "Took", "Ended by", "Error and links"], tries.filter(ran).map(row), "Every try of every task");
}

/**
 * The buttons for what a batch can be made to do now; their routes plan what that does.
 *
 * A plan's `body` is what Airflow's API takes, of which it is asked: it checks the person's right, and writes its audit log.
 */
function offer(place, { batch, tries }, reload) {
  const ended = (all) => ["ERROR", "BLOCKED"].includes(all.at(-1).status) && all.at(-1).airflow_state !== "up_for_retry";
  const again = batch.end_cause !== "deleted" && instancesOf(tries).some(ended);
  const offers = `${again}, ${!batch.ended_at}`;
  // The same button stays while nothing changes: somebody may have moved to it by keyboard.
  if (place.dataset.offers === offers) return;
  place.dataset.offers = offers;
  place.replaceChildren(...[
    again && h("button", { class: "primary", onclick: () => previewRestart(batch, reload) }, "Run failed and blocked again …"),
    !batch.ended_at && h("button", { onclick: () => previewCancel(batch, reload) }, "Cancel …"),
  ].filter(Boolean));
}

/** Says what keeps a batch from going on: what keeps it first, then what is well. */
async function explain(batch) {
  const said = await ask("why", { dag_id: batch.workflow_id, run_id: batch.batch_id }).catch((error) => { showDialog("Why does it wait?", refusal(error)); });
  if (!said) return;
  const holding = said.answers.filter((one) => !one.passed);
  showDialog("Why does it wait?",
    ...(holding.length ? holding : said.answers.slice(-1)).map((one) => h("p", { class: one.passed ? null : "callout" }, one.reason, one.remedy ? h("span", { class: "muted" }, ` ${one.remedy}`) : null)),
    holding.length ? h("ul", { class: "muted", "aria-label": "What is well" }, ...said.answers.filter((one) => one.passed).map((one) => h("li", null, one.reason))) : "");
}

/** Return the plan of a route, or nothing, with the reason told. */
const planned = (route, batch, title) => ask(route, { dag_id: batch.workflow_id, run_id: batch.batch_id }).catch((error) => { showDialog(title, refusal(error)); });

/** Asks once more, and then does it; `refused` is what a person without the right may not do. */
function confirm(title, content, { label, leave, act, refused, reload }) {
  const said = h("div", { role: "status" });
  const go = async (event) => {
    event.target.disabled = true;
    try {
      await act();
      close();
      reload();
    } catch (error) {
      event.target.disabled = false;
      said.replaceChildren(refusal(error instanceof Refusal && error.status === 403 ? new Refusal(403, `You may not ${refused} of this DAG.`) : error));
    }
  };
  const close = showDialog(title, ...content, said, h("div", { class: "actions" }, h("button", { class: "primary", onclick: go, autofocus: true }, label), h("button", { onclick: () => close() }, leave)));
}

/** The plan: `{runs: [{task_id, map_index, why}], more_runs, keeps, repeats: [text], more_repeats, follows: [text], body}`; numbers are of what is not shown, or stays. */
async function previewRestart(batch, reload) {
  const plan = await planned("restart", batch, "Run again");
  if (!plan) return;
  confirm(`Run ${plural(plan.runs.length + plan.more_runs, "task")} again?`, [
    h("ul", null, ...plan.runs.map((one) => h("li", null, h("span", { class: "id" }, taskName(one)), one.why ? h("span", { class: "muted" }, ` ${one.why}`) : "")), plan.more_runs ? h("li", null, `and ${plan.more_runs} more`) : null),
    h("p", null, `Not run again: ${plural(plan.keeps ?? 0, "task")} that succeeded.`),
    ...[...plan.repeats, ...(plan.more_repeats ? [`${plan.more_repeats} more remote jobs are started anew.`] : []), ...plan.follows].map((text) => h("p", { class: "callout" }, text)),
  ], { label: "Run again", leave: "Leave as it is", refused: "clear tasks", reload, act: () => askAirflow(["dags", batch.workflow_id, "clearTaskInstances"], sent(plan.body)) });
}

/** The plan: `{running: [name], waiting: number, jobs: [text], body}`. */
async function previewCancel(batch, reload) {
  const plan = await planned("cancel", batch, "Cancel");
  if (!plan) return;
  const run = ["dags", batch.workflow_id, "dagRuns", batch.batch_id];
  const act = async () => {
    // It may have ended meanwhile, and a success is not to become a failure.
    const { state } = await askAirflow(run);
    if (["success", "failed"].includes(state)) throw new Refusal(409, "The batch has ended meanwhile.");
    await askAirflow(run, sent(plan.body, "PATCH"));
  };
  confirm("Cancel the batch?", [
    h("p", null, plan.running.length ? ["Ended: ", h("span", { class: "id" }, plan.running.join(", "))] : "Nothing runs now.", ` Not begun: ${plural(plan.waiting, "task")}.`),
    ...plan.jobs.map((text) => h("p", { class: "callout" }, text)),
  ], { label: "Cancel the batch", leave: "Let it run", refused: "end runs", reload, act });
}

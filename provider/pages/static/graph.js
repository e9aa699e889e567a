// A workflow as a graph: tasks in columns, each to the right of all that it waits for.
import { h } from "./dom.js";

const WIDTH = 176;
const HEIGHT = 38;
const ACROSS = 56;
const DOWN = 14;
const MOST = 400;

export function graph({ tasks, edges }, wrong = new Set()) {
  if (!tasks.length) return h("p", { class: "muted" }, "There are no tasks.");
  if (tasks.length > MOST) return h("p", { class: "muted" }, `${tasks.length} tasks are too many for a drawing.`);
  const ids = tasks.map((task) => task.task_id);
  const known = edges.filter(([parent, child]) => ids.includes(parent) && ids.includes(child));
  const columns = layers(ids, known);
  const ways = known.map((edge) => way(edge, columns));
  ordered(columns, ways.flatMap((points) => points.slice(1).map((point, index) => [points[index], point])));
  const place = new Map();
  const tallest = Math.max(...columns.map((column) => column.length));
  columns.forEach((column, index) => column.forEach((id, row) => place.set(id, {
    x: index * (WIDTH + ACROSS) + 2,
    y: ((tallest - column.length) / 2 + row) * (HEIGHT + DOWN) + 2,
  })));
  const width = columns.length * (WIDTH + ACROSS) - ACROSS + 4;
  const height = tallest * (HEIGHT + DOWN) - DOWN + 4;
  const box = (task) => {
    const { x, y } = place.get(task.task_id);
    const kind = ["box", task.enabled === false ? "off" : "", wrong.has(task.task_id) ? "wrong" : ""].join(" ");
    return h("g", { class: kind }, h("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 6 }),
      h("text", { x: x + 10, y: y + 16, class: "name" }, shortened(task.task_id), h("title", null, `${task.task_id}${task.enabled === false ? " (disabled)" : ""}`)),
      h("text", { x: x + 10, y: y + 30, class: "tick" }, shortened(`${task.task_type ?? ""}${task.enabled === false ? " · disabled" : ""}`)));
  };
  return h("div", { class: "scroll" }, h("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Graph of ${tasks.length} tasks and ${known.length} dependencies; the YAML says the same` },
    ...ways.map((points) => arrow(points.map((point) => place.get(point)))), ...tasks.map(box)));
}

const shortened = (text) => (text.length > 24 ? `${text.slice(0, 23)}…` : text);

/** The stops of an edge: where it passes columns it has a place of its own there, so that it goes around their tasks. */
function way([parent, child], columns) {
  const at = (id) => columns.findIndex((column) => column.includes(id));
  const stops = [];
  for (let index = at(parent) + 1; index < at(child); index += 1) stops.push(`\n${parent}\n${child}\n${index}`);
  for (const stop of stops) columns[Number(stop.split("\n").at(-1))].push(stop);
  return [parent, ...stops, child];
}

function arrow(points) {
  const middle = ({ y }) => y + HEIGHT / 2;
  const [from, to] = [points[0], points.at(-1)];
  let path = `M${from.x + WIDTH},${middle(from)}`;
  for (let index = 1; index < points.length; index += 1) {
    const [x1, y1] = [points[index - 1].x + WIDTH, middle(points[index - 1])];
    const [x2, y2] = [points[index].x - (index === points.length - 1 ? 5 : 0), middle(points[index])];
    const bend = Math.max(24, (x2 - x1) / 2);
    path += ` C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}${index < points.length - 1 ? ` H${x2 + WIDTH}` : ""}`;
  }
  return h("g", { class: to.x > from.x ? "edge" : "edge wrong" }, h("path", { d: path }), h("path", { class: "head", d: `M${to.x},${middle(to)} l-7,-4 v8 z` }));
}

/** The column of each task: one more than the largest of its parents'. What is on a cycle comes last, in one column. */
function layers(ids, edges) {
  const waits = new Map(ids.map((id) => [id, 0]));
  for (const [, child] of edges) waits.set(child, waits.get(child) + 1);
  const column = new Map();
  let next = ids.filter((id) => waits.get(id) === 0);
  const columns = [];
  while (next.length) {
    columns.push(next);
    for (const id of next) column.set(id, columns.length);
    const reached = [];
    for (const [parent, child] of edges) {
      if (column.get(parent) !== columns.length) continue;
      waits.set(child, waits.get(child) - 1);
      if (waits.get(child) === 0) reached.push(child);
    }
    next = reached;
  }
  const left = ids.filter((id) => !column.has(id));
  return left.length ? [...columns, left] : columns;
}

/** Put each task near the middle of its parents, so that fewer arrows cross. */
function ordered(columns, edges) {
  const row = new Map();
  for (const column of columns) {
    const middle = (id) => {
      const rows = edges.filter(([, child]) => child === id).map(([parent]) => row.get(parent)).filter((one) => one !== undefined);
      return rows.length ? rows.reduce((sum, one) => sum + one, 0) / rows.length : 0;
    };
    const weights = new Map(column.map((id) => [id, middle(id)]));
    column.sort((one, other) => weights.get(one) - weights.get(other) || (one < other ? -1 : 1));
    column.forEach((id, index) => row.set(id, index - column.length / 2));
  }
}

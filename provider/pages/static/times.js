// Times in the zone of whoever looks, with UTC at hand; durations in words.
import { h } from "./dom.js";

const two = (number) => String(number).padStart(2, "0");
const day = (time) => `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
const clock = (time) => `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;

/** A time; today's without the day. */
export function when(text) {
  if (!text) return "";
  const time = new Date(text);
  const shown = day(time) === day(new Date()) ? clock(time) : `${day(time)} ${clock(time)}`;
  return h("time", { datetime: text, title: `${text.replace("T", " ").replace(/(\.\d+)?Z$/, "")} UTC` }, shown);
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** A number of seconds as its two largest units. */
export function words(seconds) {
  if (seconds < 1) return seconds <= 0 ? "0 s" : "< 1 s";
  const first = UNITS.findIndex(([, size]) => seconds >= size);
  const [unit, size] = UNITS[first];
  const rest = UNITS[first + 1];
  const left = rest ? Math.floor((seconds % size) / rest[1]) : 0;
  return `${Math.floor(seconds / size)} ${unit}${left ? ` ${left} ${rest[0]}` : ""}`;
}

export const secondsBetween = (from, until) => (new Date(until ?? Date.now()) - new Date(from)) / 1000;

/** How long something took, or takes until now. */
export const took = (from, until) => (from ? h("span", { class: "took" }, words(secondsBetween(from, until))) : "");

export const ago = (text) => (text ? `${words(Math.max(0, secondsBetween(text)))} ago` : "");

/** As of when the record is complete, and a warning where that is long ago. */
export function asOf(current) {
  if (!current) return h("span", { class: "late" }, "The record is not complete yet: no reconciler has finished a look.");
  const late = secondsBetween(current) > 60;
  return h("span", { class: late ? "late" : "muted" }, late ? "⚠ The record is complete as of " : "As of ", when(current), late ? ` (${ago(current)})` : "");
}

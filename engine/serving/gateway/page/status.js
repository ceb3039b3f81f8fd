// Asks the gateway once a second for its figures and draws them. No library, no build step.
"use strict";

const kPeriodMs = 1000;
const kPatienceMs = 4000;
const kHistorySeconds = 600;
const kSpans = [60, 120, 300, kHistorySeconds];  // seconds that plots show, as far as there are samples
const kStorageKey = "dslaunch-api-key";
const kSvg = "http://www.w3.org/2000/svg";

const seconds = (value) => {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`;
  if (value < 1) return `${(value * 1e3).toPrecision(value < 0.1 ? 2 : 3)} ms`;
  return `${value.toPrecision(3)} s`;
};
const count = (value) => {
  if (value === null || value === undefined) return "–";
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return value < 10 && value % 1 !== 0 ? value.toFixed(1) : Math.round(value).toString();
};
const percent = (value) => (value === null || value === undefined ? "–" : `${(value * 100).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`);
const bytes = (value) => {
  if (value === null || value === undefined) return "–";
  const power = value < 1 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${Number((value / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB", "TB"][power]}`;
};
const clock = (unixSeconds) => new Date(unixSeconds * 1000).toLocaleTimeString();

const kPlots = [
  { title: "Tokens per second", format: count, series: [["generated", "generation_tokens_per_s"], ["prompt", "prompt_tokens_per_s"]] },
  { title: "Requests", format: count, series: [["running", "running"], ["waiting", "waiting"]] },
  { title: "KV cache", format: percent, atLeast: 1, series: [["in use", "kv_usage"], ["prefix hits", "prefix_hit_rate"]] },
  { title: "Time to first token", format: seconds, series: [["p50", "first_token_p50_s"], ["p90", "first_token_p90_s"], ["p99", "first_token_p99_s"]] },
  { title: "Between tokens", format: seconds, series: [["p50", "inter_token_p50_s"], ["p90", "inter_token_p90_s"], ["p99", "inter_token_p99_s"]] },
  { title: "Whole request", format: seconds, series: [["p50", "e2e_p50_s"], ["p90", "e2e_p90_s"], ["p99", "e2e_p99_s"]] },
];

/** An element with attributes, and children: elements or text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(kSvg, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const byId = (id) => document.getElementById(id);
/** Replaces what is shown only when it differs, so that a selection and a reader's place stay. */
function show(target, ...children) {
  const next = element(target.tagName, {}, ...children);
  if (next.innerHTML !== target.innerHTML) target.replaceChildren(...next.childNodes);
}

/** The samples that there are, by the gateway's numbers. */
class History {
  constructor() { this.clear(); }
  clear() { this.next = 0; this.rows = []; this.columns = []; }
  add(part) {
    this.columns = part.columns;
    if (part.first !== this.next) this.rows = [];
    this.rows.push(...part.rows);
    this.rows.splice(0, Math.max(0, this.rows.length - kHistorySeconds));
    this.next = part.first + part.rows.length;
  }
  column(name) { const i = this.columns.indexOf(name); return this.rows.map((row) => row[i]); }
  last(name) { return this.rows.length ? this.rows.at(-1)[this.columns.indexOf(name)] : null; }
}

/** The smallest of 1, 2, 5 times a power of ten that is not below. */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

class Plot {
  constructor(spec, history) {
    Object.assign(this, spec, { history, chosen: null });
    this.drawing = svg("svg", { role: "img", tabindex: "0" });
    this.values = [];
    const legend = element("div", { class: "legend" });
    spec.series.forEach(([label], i) => {
      const value = element("b");
      this.values.push(value);
      legend.append(element("span", {}, svg("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" },
        svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, class: `series series-${i}` })), `${label} `, value));
    });
    this.time = element("span", { class: "dim" });
    legend.append(this.time);
    this.figure = element("figure", { class: "plot" }, element("figcaption", {}, spec.title), legend, this.drawing);
    this.drawing.addEventListener("pointermove", (event) => this.choose(event.offsetX));
    this.drawing.addEventListener("pointerleave", () => this.choose(null));
    this.drawing.addEventListener("blur", () => this.choose(null));
    this.drawing.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 1, ArrowRight: -1, PageUp: 60, PageDown: -60 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      this.chosen = Math.min(Math.max((this.chosen ?? 0) + step, 0), Math.max(history.rows.length - 1, 0));
      this.draw();
    });
    new ResizeObserver(() => this.draw()).observe(this.drawing);
  }

  /** Picks the sample under a pointer; it is kept as an age in seconds. */
  choose(x) {
    const width = this.drawing.clientWidth;
    const age = x === null ? null : Math.round((1 - (x - this.left) / (width - this.left)) * this.span);
    this.chosen = age === null || age < 0 || age >= this.history.rows.length ? null : age;
    this.draw();
  }

  draw() {
    const width = this.drawing.clientWidth, height = this.drawing.clientHeight;
    if (!width) return;
    this.span = kSpans.find((span) => span >= this.history.rows.length);
    const columns = this.series.map(([, name]) => this.history.column(name));
    const peak = Math.max(0, ...columns.flat().filter((value) => value !== null));
    const top = roundUp(Math.max(peak, this.atLeast ?? 0));
    const floor = height - 18;
    const ticks = [0, 0.5, 1].map((part) => [part, this.format(top * part)]);
    this.left = 8 + 6.4 * Math.max(...ticks.map(([, text]) => text.length));
    const x = (age) => this.left + (width - this.left - 2) * (1 - age / this.span);
    const y = (value) => floor - (floor - 8) * (value / top);
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = [];
    for (const [part, text] of ticks) {
      parts.push(svg("line", { class: "grid", x1: this.left, x2: width, y1: y(top * part), y2: y(top * part) }));
      parts.push(svg("text", { class: "tick", x: this.left - 5, y: y(top * part) + 4, "text-anchor": "end" }, text));
    }
    for (const [age, text, anchor] of [[this.span, `−${this.span / 60} min`, "start"], [0, "now", "end"]]) {
      parts.push(svg("text", { class: "tick", x: x(age), y: height - 3, "text-anchor": anchor }, text));
    }
    columns.forEach((values, i) => parts.push(svg("path", { class: `series series-${i}`, d: pathOf(values, x, y) })));
    if (this.chosen !== null) {
      parts.push(svg("line", { class: "cursor", x1: x(this.chosen), x2: x(this.chosen), y1: 4, y2: floor }));
    }
    this.drawing.replaceChildren(...parts);
    const index = this.history.rows.length - 1 - (this.chosen ?? 0);
    const texts = columns.map((values) => this.format(values[index]));
    texts.forEach((text, i) => { this.values[i].textContent = text; });
    this.time.textContent = this.chosen === null ? "" : `at ${clock(this.history.rows[index][0])}`;
    const said = this.series.map(([label], i) => `${label} ${texts[i]}`).join(", ");
    this.drawing.setAttribute("aria-label", `${this.title}, ${this.time.textContent || "now"}: ${said}`);
  }
}

/** A line through the values there are; a lone value is a dot, a gap stays a gap. */
function pathOf(values, x, y) {
  let path = "", drawing = false;
  values.forEach((value, i) => {
    if (value === null) { drawing = false; return; }
    const point = `${x(values.length - 1 - i).toFixed(1)} ${y(value).toFixed(1)}`;
    const isLone = !drawing && (values[i + 1] ?? null) === null;
    path += isLone ? `M${point}h1.5` : `${drawing ? "L" : "M"}${point}`;
    drawing = true;
  });
  return path;
}

const history = new History();
const plots = kPlots.map((spec) => new Plot(spec, history));
let startedAt = null;
let timer = null;
let asking = false;
let lastAnswer = null;

function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.flatMap(([name, ...value]) => [element("dt", {}, name), element("dd", {}, ...value)]));
}

function stateOf(replica) {
  if (replica.problem) return ["bad", "unhealthy"];
  if (replica.state === "draining") return ["warn", "draining"];
  if (replica.is_in_rotation) return ["good", "healthy"];
  return replica.figures ? ["bad", "out of rotation"] : ["warn", "starting"];
}

function rankChip(rank, tp) {
  const state = { healthy: "good", unhealthy: "bad", unknown: undefined }[rank.state];
  const place = `stage ${Math.floor(rank.rank / tp)}, shard ${rank.rank % tp}`;
  const silence = rank.state === "unhealthy" && rank.told_s_ago > 1 ? `, silent for ${seconds(rank.told_s_ago)}` : "";
  return element("li", { class: "chip", "data-state": state, title: place },
    `${rank.rank} ${rank.state}${rank.host ? ` on ${rank.host}` : ""}${silence}`);
}

/** What goes from rank to rank, and over what. */
function hopRows(replica) {
  const links = replica.figures ? replica.figures.links : [];
  const transports = new Map(links.map((link) => [`${link.rank} ${link.peer}`, `${link.transport} (${link.device})`]));
  return replica.hops.map((hop) => [replica.id, `${hop.rank} → ${hop.peer}`, hop.purpose, transports.get(`${hop.rank} ${hop.peer}`) ?? "–",
    `${bytes(hop.sent_bytes_per_s)}/s`, percent(hop.waiting)]);
}

function drawHops(replicas) {
  const rows = replicas.flatMap(hopRows);
  byId("hops-section").hidden = !rows.length;
  show(byId("hops-summary"), `${rows.length} hops between ranks: bytes sent, and time waited for the peer`);
  if (byId("hops-details").open) show(byId("hops"), table(["Replica", "Hop", "For", "Transport", "Sent", "Waits"], rows));
}

function replicaCard(replica) {
  const [state, word] = stateOf(replica);
  const figures = replica.figures;
  const rows = [["World", `tensor ${replica.tp} × pipeline ${replica.pp}`],
    ["Ranks", element("ul", { class: "chips" }, ...replica.ranks.map((rank) => rankChip(rank, replica.tp)))]];
  if (figures) {
    const usage = figures.kv_blocks_total ? figures.kv_blocks_used / figures.kv_blocks_total : 0;
    const hits = figures.prefix_queries ? figures.prefix_hits / figures.prefix_queries : null;
    const used = [...new Set(figures.links.map((link) => `${link.transport} (${link.device})`))].sort();
    const links = used.length ? element("ul", { class: "chips" }, ...used.map((text) => element("li", { class: "chip" }, text))) : "none: one rank";
    rows.push(["Requests", `${figures.num_running} running, ${figures.num_waiting} of ${figures.max_waiting} waiting`],
      ["Generated", `${count(replica.generation_tokens_per_s)} tokens/s`],
      ["KV cache", element("meter", { min: 0, max: 1, value: usage, "aria-label": "KV cache in use" }),
        `${percent(usage)} of ${figures.kv_blocks_total} blocks`],
      ["Prefix hits", `${percent(hits)} of ${count(figures.prefix_queries)} prompt tokens`],
      ["Preemptions", count(figures.preemptions)],
      ["Transports", links], ["Compute", `${figures.dtype}, ${figures.kernels}`]);
    if (figures.decode_limit_fraction !== null) rows.push(["Decode", `${percent(figures.decode_limit_fraction)} of memory bandwidth`]);
  }
  rows.push(["Endpoint", `${replica.endpoint}${replica.host ? ` on ${replica.host}` : ""}`],
    ["Version", replica.version || "–"], ["Launch", replica.launch_id || "–"]);
  return element("article", { class: "card", "aria-label": `replica ${replica.id}: ${word}` },
    element("div", { class: "card-head" }, element("h3", {}, replica.id), element("span", { class: "pill", "data-state": state }, word)),
    ...(replica.problem ? [element("div", { class: "problem" }, `${replica.problem.code} ${replica.problem.message}`,
      element("div", { class: "remedy" }, replica.problem.remedy || "see the logs"))] : []),
    facts(rows));
}

function errorBox(error) {
  const times = error.count > 1 ? `${error.count} times, ${clock(error.first_unix_s)} to ${clock(error.last_unix_s)}` : clock(error.last_unix_s);
  return element("article", { class: "error" },
    element("div", { class: "head" }, element("span", {}, `${error.code} ${error.name}`), element("time", {}, times)),
    element("p", {}, `${error.where}: ${error.message}`),
    ...(error.remedy ? [element("p", { class: "remedy" }, error.remedy)] : []));
}

/** Names of columns, and rows of texts; on a phone each row is a block. */
function table(names, rows) {
  const body = rows.map((row) => element("tr", {}, ...row.map((text, i) => element("td", { "data-label": names[i] }, text))));
  return element("table", {}, element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...body));
}

function serviceTable(services) {
  if (!services.length) return element("p", { class: "dim" }, "None is registered; this gateway prepares texts itself.");
  return table(["Name", "Role", "State", "Endpoint", "Version"], services.map((service) => [
    service.id + (service.is_this_gateway ? " (this one)" : ""), service.role, service.state,
    `${service.endpoint}${service.host ? ` on ${service.host}` : ""}`, service.version || "–"]));
}

function tile(name, value, unit = "") {
  return element("div", { class: "tile" }, element("dt", {}, name), element("dd", {}, value, ...(unit ? [element("small", {}, ` ${unit}`)] : [])));
}

function drawTiles(replicas) {
  const figures = replicas.map((replica) => replica.figures).filter(Boolean);
  const sum = (name) => figures.reduce((total, one) => total + (one[name] ?? 0), 0);
  const queries = sum("prefix_queries");
  const blocks = sum("kv_blocks_total");
  show(byId("tiles"),
    tile("Generated", count(history.last("generation_tokens_per_s")), "tokens/s"),
    tile("Prompts", count(history.last("prompt_tokens_per_s")), "tokens/s"),
    tile("Running", count(sum("num_running")), "requests"),
    tile("Waiting", count(sum("num_waiting")), "requests"),
    tile("First token p50", seconds(history.last("first_token_p50_s"))),
    tile("Next token p50", seconds(history.last("inter_token_p50_s"))),
    tile("KV cache in use", percent(blocks ? sum("kv_blocks_used") / blocks : null)),
    tile("Prefix hits", percent(queries ? sum("prefix_hits") / queries : null)));
}

function setPill(state, text) {
  byId("pill").dataset.state = state;
  if (byId("pill").textContent !== text) byId("pill").textContent = text;
}

function draw(report) {
  const { gateway, replicas, services, errors } = report;
  startedAt = gateway.started_unix_s;
  history.add(report.history);
  document.title = `${gateway.model} – dslaunch status`;
  byId("model").textContent = gateway.model;
  show(byId("identity"), `dslaunch ${gateway.version}, routing ${gateway.routing_policy}, gateway since ${new Date(startedAt * 1000).toLocaleString()}`);
  const healthy = replicas.filter((replica) => stateOf(replica)[0] === "good").length;
  if (gateway.draining) setPill("warn", "draining");
  else if (!replicas.length) setPill("bad", "no replica");
  else setPill(healthy === replicas.length ? "good" : healthy ? "warn" : "bad", `${healthy} of ${replicas.length} healthy`);
  byId("main").hidden = false;
  drawTiles(replicas);
  plots.forEach((plot) => plot.draw());
  show(byId("replicas"), ...(replicas.length ? replicas.map(replicaCard) : [element("p", { class: "dim" }, "No replica is registered.")]));
  drawHops(replicas);
  show(byId("errors"), ...(errors.length ? errors.map(errorBox) : [element("p", { class: "dim" }, "None since this gateway started.")]));
  show(byId("services"), serviceTable(services));
  byId("updated").textContent = `Updated at ${lastAnswer.toLocaleTimeString()}`;
}

function askForKey(reason) {
  sessionStorage.removeItem(kStorageKey);
  history.clear();
  byId("main").hidden = true;
  byId("forget").hidden = true;
  byId("gone").hidden = true;
  byId("updated").textContent = "";
  if (reason) byId("login-reason").textContent = reason;
  setPill("unknown", "locked");
  if (byId("login").hidden) {
    byId("login").hidden = false;
    byId("key").focus();
  }
}

/** Shows that the figures are old, or with no text that they are not. */
function setGone(text) {
  document.body.classList.toggle("stale", text !== "");
  byId("gone").hidden = text === "";
  if (byId("gone").textContent !== text) byId("gone").textContent = text;
  if (text) setPill("bad", "gateway gone");
}

async function ask(key) {
  const answer = await fetch(`status/data?since=${history.next}`, {
    headers: { Authorization: `Bearer ${key}` }, cache: "no-store", signal: AbortSignal.timeout(kPatienceMs) });
  if (answer.status === 401) return askForKey("That key is wrong or was revoked.");
  if (!answer.ok) throw new Error(`the gateway answers with status ${answer.status}`);
  const report = await answer.json();
  if (startedAt !== null && startedAt !== report.gateway.started_unix_s && history.next > 0) {
    history.clear();
    return ask(key);
  }
  lastAnswer = new Date();
  byId("login").hidden = true;
  byId("forget").hidden = false;
  setGone("");
  draw(report);
}

async function update() {
  clearTimeout(timer);
  const key = sessionStorage.getItem(kStorageKey);
  if (!key) return askForKey();
  if (document.hidden || asking) return;
  asking = true;
  try {
    await ask(key);
  } catch (error) {
    const since = lastAnswer ? ` since ${lastAnswer.toLocaleTimeString()}; these figures are old` : "";
    setGone(`The gateway has not answered${since}. Trying again each second.`);
  } finally {
    asking = false;
  }
  timer = setTimeout(update, kPeriodMs);
}

byId("plots").append(...plots.map((plot) => plot.figure));
byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(kStorageKey, byId("key").value.trim());
  byId("key").value = "";
  update();
});
byId("forget").addEventListener("click", () => askForKey());
document.addEventListener("visibilitychange", update);
update();

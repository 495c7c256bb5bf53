// The curves of a run, drawn as SVG: two small charts with axes, in the theme's colours.

const CHART = { width: 440, height: 190, left: 62, right: 14, top: 12, bottom: 34 };

/** Loss and validation accuracy by step. */
function curves(curve) {
  const steps = Math.max(curve.steps || 0, ...curve.loss.map((p) => p[0]), ...curve.accuracy.map((p) => p[0]), 1);
  const most = Math.max(0.1, ...curve.loss.map((p) => p[1]));
  return h("div.lk-curves", null,
    chart({ title: "Loss", axis: "loss", hint: "how wrong it is while it learns: lower is better", points: curve.loss, steps, top: niceTop(most), say: (v) => String(Number(v.toPrecision(2))), smooth: true, later: "comes with the first steps" }),
    chart({ title: "Validation accuracy", axis: "share", hint: `share of ${curve.share_of || "right answers"}, on rows that it does not learn from: higher is better`, points: curve.accuracy, steps, top: 1, say: (v) => `${Math.round(100 * v)}%`, dots: true, mark: curve.instant, markTitle: "instant answer", later: "comes after the first pass over the data" }));
}

function niceTop(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10].map((n) => n * unit).find((n) => n >= value);
}

/** Round step numbers, at most six of them. */
function stepTicks(steps) {
  const unit = 10 ** Math.floor(Math.log10(steps));
  const stride = Math.max(1, [0.1, 0.2, 0.5, 1, 2].map((n) => n * unit).find((n) => steps / n <= 5) || unit);
  return Array.from({ length: Math.floor(steps / stride) + 1 }, (_, n) => n * stride);
}

function chart(given) {
  const { width, height, left, right, top, bottom } = CHART;
  const x = (step) => left + ((width - left - right) * step) / given.steps;
  const y = (value) => height - bottom - ((height - top - bottom) * Math.min(value, given.top)) / given.top;
  const last = given.points.length ? given.points[given.points.length - 1] : null;
  const spoken = last ? `${given.title}: ${given.say(last[1])} at step ${last[0]} of ${given.steps}` : `${given.title}: nothing measured yet`;
  return h("figure.lk-chart", null,
    h("figcaption", null, h("b", null, given.title), h("span", null, given.hint), last && h("output", null, given.say(last[1]))),
    h("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken },
      axes(given, x, y),
      markLine(given, x, y),
      lines(given, x, y),
      !last && h("text", { x: (width + left) / 2, y: y(given.mark < 0.45 * given.top ? 0.7 * given.top : 0.15 * given.top), class: "lk-chart-empty", "text-anchor": "middle" }, given.later)));
}

function axes(given, x, y) {
  const { width, height, right, left, bottom } = CHART;
  const levels = [0, 0.25, 0.5, 0.75, 1].map((share) => share * given.top);
  return h("g", { class: "lk-axes" },
    levels.map((v) => [
      h("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), class: v ? "lk-grid" : "lk-axis" }),
      h("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, given.say(v))]),
    stepTicks(given.steps).map((step) => h("text", { x: x(step), y: height - bottom + 15, "text-anchor": "middle" }, step.toLocaleString("en"))),
    h("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle", class: "lk-axis-title" }, "step"),
    h("text", { transform: `translate(12 ${(height - bottom + CHART.top) / 2}) rotate(-90)`, "text-anchor": "middle", class: "lk-axis-title" }, given.axis));
}

function markLine(given, x, y) {
  if (given.mark === null || given.mark === undefined) return null;
  const at = y(given.mark);
  return h("g", { class: "lk-mark" },
    h("line", { x1: x(0), x2: x(given.steps), y1: at, y2: at }),
    h("text", { x: x(given.steps) - 2, y: at + 13, "text-anchor": "end" }, `${given.markTitle} ${given.say(given.mark)}`));
}

function lines(given, x, y) {
  const path = (points) => points.map(([step, value], n) => `${n ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const points = given.points;
  return [
    h("path", { d: path(points), class: given.smooth ? "lk-line lk-faint" : "lk-line" }),
    given.smooth && h("path", { d: path(smoothed(points)), class: "lk-line" }),
    given.dots && points.map(([step, value]) => h("circle", { cx: x(step).toFixed(1), cy: y(value).toFixed(1), r: 3.2 }, h("title", null, `step ${step}: ${given.say(value)}`))),
  ];
}

/** An exponential mean that starts without a bias. */
function smoothed(points) {
  let mean = 0;
  let weight = 0;
  return points.map(([step, value]) => {
    mean = 0.85 * mean + 0.15 * value;
    weight = 0.85 * weight + 0.15;
    return [step, mean / weight];
  });
}

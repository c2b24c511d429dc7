// Rules, statistics and aggregates for one anchor with one positive (s_p) and one negative (s_n), both -1 to 1.
// They bear the names that they have in Python (circlet.rules, circlet.Form, circlet.aggregate) and take the same
// numbers. No loss is known here: what each is made of is told by circlet.report.explorer.offered.

const sigmoid = (x) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const positivePart = (x) => Math.max(x, 0);
const sum = (values) => values.reduce((total, value) => total + value, 0);

// Each side of a rule: from a similarity to its logit, and to the slope that training uses. Circle's weights are
// detached, so that its slope is not the derivative of its logit (Eq. 9 and 10). scales: what slopes are measured in.
const line = (slope, root) => (s) => ({ logit: slope * (s - root), slope });
const hinged = (logit, slope) => ({ logit: positivePart(logit), slope: logit >= 0 ? slope : 0 });
const SMALLEST_SINE = 1e-3, SMALLEST_DISTANCE = 1e-3; // as in circlet.rules

function distance(s) { // of unit vectors
  const square = 2 - 2 * s, found = Math.max(Math.sqrt(positivePart(square)), SMALLEST_DISTANCE);
  return { logit: found, slope: square >= SMALLEST_DISTANCE ** 2 ? -1 / found : 0 };
}

const RULES = {
  Circle: ({ margin, gamma }) => ({
    scales: [gamma, gamma],
    positive: (s) => line(-gamma * positivePart(1 + margin - s), 1 - margin)(s),
    negative: (s) => line(gamma * positivePart(s + margin), margin)(s),
  }),
  ConstantMargin: ({ margin, gamma }) => ({
    scales: [gamma, gamma],
    positive: line(-gamma, margin),
    negative: line(gamma, 0),
  }),
  AngularMargin: ({ margin, gamma }) => ({
    scales: [gamma, gamma],
    positive(s) {
      const room = 1 - s * s, sine = Math.max(Math.sqrt(positivePart(room)), SMALLEST_SINE);
      if (s < Math.cos(Math.PI - margin)) return line(-gamma, margin * Math.sin(margin))(s);
      const shifted = s * Math.cos(margin) - sine * Math.sin(margin);
      const slope = Math.cos(margin) + (room > SMALLEST_SINE ** 2 ? (s / sine) * Math.sin(margin) : 0);
      return { logit: -gamma * shifted, slope: -gamma * slope };
    },
    negative: line(gamma, 0),
  }),
  TwoScales: ({ alpha, beta, base }) => ({
    scales: [alpha, beta],
    positive: line(-alpha, base),
    negative: line(beta, base),
  }),
  SymmetricMargin: ({ margin, gamma }) => ({
    scales: [gamma, gamma],
    positive: line(-gamma, margin),
    negative: line(gamma, -margin),
  }),
  Hinges: ({ positive_margin, negative_margin }) => ({
    scales: [1, 1],
    positive: (s) => line(s < positive_margin ? -1 : 0, positive_margin)(s),
    negative: (s) => line(s > negative_margin ? 1 : 0, negative_margin)(s),
  }),
  DistanceHinges: ({ boundary, margin }) => ({
    scales: [1, 1],
    positive: (s) => hinged(distance(s).logit - boundary + margin, distance(s).slope),
    negative: (s) => hinged(boundary + margin - distance(s).logit, -distance(s).slope),
  }),
  Squares: () => ({
    scales: [1, 1],
    positive: (s) => ({ logit: (1 - s) ** 2, slope: -2 * (1 - s) }),
    negative: (s) => ({ logit: s * s, slope: 2 * s }),
  }),
};

// From the logits of one side to one number, and its derivative in each of them.
function logsumexp(logits) {
  const most = Math.max(...logits), shares = logits.map((x) => Math.exp(x - most)), total = sum(shares);
  return { value: most + Math.log(total), weights: shares.map((share) => share / total) };
}
function mean(logits) {
  return { value: sum(logits) / logits.length, weights: logits.map(() => 1 / logits.length) };
}
function max(logits) {
  const value = Math.max(...logits), number = logits.filter((x) => x === value).length;
  return { value, weights: logits.map((x) => (x === value ? 1 / number : 0)) };
}
const STATISTICS = {
  logsumexp,
  max,
  sum: (logits) => ({ value: sum(logits), weights: logits.map(() => 1) }),
  mean,
  softmin(logits) {
    const { value, weights } = logsumexp(logits.map((x) => -x));
    return { value: -value, weights };
  },
  mean_active(logits) {
    const number = Math.max(logits.filter((x) => x > 0).length, 1);
    return { value: sum(logits.map(positivePart)) / number, weights: logits.map((x) => (x > 0 ? 1 / number : 0)) };
  },
  each: mean, // of the one positive
  semi_hard: max, // of a negative that is less similar than the positive; see circletEvaluate
};

// From the statistics of both sides to the loss, and its derivative in each. apart: the sides do not meet.
function coupled(loss, z) {
  return { loss, zP: z, zN: z, apart: false };
}
const AGGREGATES = {
  softplus: () => (pos, neg) => coupled(softplus(pos + neg), sigmoid(pos + neg)),
  hinge: () => (pos, neg) => coupled(positivePart(pos + neg), pos + neg >= 0 ? 1 : 0),
  add: () => (pos, neg) => coupled(pos + neg, 1),
  Separate: () => (pos, neg) => ({ loss: pos + neg, zP: 1, zN: 1, apart: true }),
  SeparateSoftplus: ({ alpha, beta }) => (pos, neg) => ({
    loss: softplus(pos) / alpha + softplus(neg) / beta, zP: sigmoid(pos) / alpha, zN: sigmoid(neg) / beta, apart: true,
  }),
};

// A rule or an aggregate with its numbers. Each is a sum of terms [factor, {hyper-parameter: 1 or -1}].
function built(table, { name, numbers }, own) {
  const product = (powers) => Object.entries(powers).reduce((x, [key, power]) => x * own[key] ** power, 1);
  const value = (terms) => sum(terms.map(([factor, powers]) => factor * product(powers)));
  return table[name](Object.fromEntries(Object.entries(numbers).map(([key, terms]) => [key, value(terms)])));
}

// All that the page shows at one point, for a form and the hyper-parameters of the loss.
// decision: 0 or below past the decision boundary. unit: what slopes are shown in.
function circletEvaluate(form, own, s_n, s_p) {
  const rule = built(RULES, form.rule, own), aggregate = built(AGGREGATES, form.aggregate, own);
  const positive = rule.positive(s_p), negative = rule.negative(s_n);
  const contrast = form.contrast === "all" ? [negative, rule.negative(s_p)] : [negative];
  const pos = STATISTICS[form.positives]([positive.logit]);
  const neg = STATISTICS[form.negatives](contrast.map((side) => side.logit));
  const { loss, zP, zN, apart } = aggregate(pos.value, neg.value);
  const counts = form.negatives === "semi_hard" && s_n >= s_p ? 0 : 1; // no such negative: no loss
  const [gradient_n, also_p = 0] = contrast.map((side, i) => counts * zN * neg.weights[i] * side.slope);
  return {
    loss: counts * loss,
    gradient_n,
    gradient_p: counts * zP * pos.weights[0] * positive.slope + also_p,
    alpha_n: negative.slope / rule.scales[1],
    alpha_p: -positive.slope / rule.scales[0],
    decision: apart ? Math.max(positive.logit, negative.logit) : positive.logit + negative.logit,
    unit: apart ? 1 : rule.scales[1],
  };
}
window.circletEvaluate = circletEvaluate;
window.circletWords = { rules: RULES, statistics: STATISTICS, aggregates: AGGREGATES };

// The losses of circlet.functional for one anchor with one positive (s_p) and one negative (s_n), both -1 to 1.
// A rule gives the two logits and their slopes (Circle's weights are detached: its slope is not the derivative of its
// logit, Eq. 9 and 10). An aggregate gives the loss and its derivative in each logit.
"use strict";

const sigmoid = (x) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const positivePart = (x) => Math.max(x, 0);

const SMALLEST_SINE = 1e-3; // as in circlet.rules

const RULES = {
  circle({ margin, gamma }, n, p) {
    const alphaN = positivePart(n + margin), alphaP = positivePart(1 + margin - p);
    return {
      pos: -gamma * alphaP * (p - (1 - margin)), neg: gamma * alphaN * (n - margin),
      slopeP: -gamma * alphaP, slopeN: gamma * alphaN, scaleP: gamma, scaleN: gamma,
    };
  },
  constant({ margin, gamma }, n, p) {
    return { pos: -gamma * (p - margin), neg: gamma * n, slopeP: -gamma, slopeN: gamma, scaleP: gamma, scaleN: gamma };
  },
  angular({ margin, gamma }, n, p) {
    const sine = Math.max(Math.sqrt(positivePart(1 - p * p)), SMALLEST_SINE);
    const beyond = p < Math.cos(Math.PI - margin);
    const inside = 1 - p * p > SMALLEST_SINE ** 2;
    const shifted = p * Math.cos(margin) - sine * Math.sin(margin);
    const slope = Math.cos(margin) + (inside ? (p / sine) * Math.sin(margin) : 0);
    return {
      pos: -gamma * (beyond ? p - margin * Math.sin(margin) : shifted), neg: gamma * n,
      slopeP: -gamma * (beyond ? 1 : slope), slopeN: gamma, scaleP: gamma, scaleN: gamma,
    };
  },
  twoScales({ alpha, beta, base }, n, p) {
    return {
      pos: -alpha * (p - base), neg: beta * (n - base),
      slopeP: -alpha, slopeN: beta, scaleP: alpha, scaleN: beta,
    };
  },
};

const AGGREGATES = {
  softplus(pos, neg) {
    const z = sigmoid(pos + neg);
    return { loss: softplus(pos + neg), zP: z, zN: z };
  },
  hinge(pos, neg) {
    const z = pos + neg >= 0 ? 1 : 0;
    return { loss: positivePart(pos + neg), zP: z, zN: z };
  },
  separate(pos, neg, { alpha, beta }) {
    return {
      loss: softplus(pos) / alpha + softplus(neg) / beta,
      zP: sigmoid(pos) / alpha, zN: sigmoid(neg) / beta,
    };
  },
};

// Rule, aggregate, and how the loss's own numbers become those of the rule.
const LOSSES = {
  circle: ["circle", "softplus", (own) => own],
  unified: ["constant", "softplus", (own) => own],
  am_softmax: ["constant", "softplus", (own) => own],
  arcface: ["angular", "softplus", (own) => own],
  normface: ["constant", "softplus", (own) => ({ margin: 0, gamma: own.gamma })],
  softmax: ["constant", "softplus", () => ({ margin: 0, gamma: 1 })],
  n_pair: ["constant", "softplus", () => ({ margin: 0, gamma: 1 })],
  info_nce: ["constant", "softplus", (own) => ({ margin: 0, gamma: 1 / own.temperature })],
  triplet: ["constant", "hinge", (own) => ({ margin: own.margin, gamma: 1 })],
  lifted_structure: ["constant", "hinge", (own) => own],
  multi_similarity: ["twoScales", "separate", (own) => own],
};

// Everything the page shows at one point. `decision` < 0: past the decision boundary. `unit`: what slopes are shown in.
function circletEvaluate(name, own, s_n, s_p) {
  const [ruleName, aggregateName, convert] = LOSSES[name];
  const numbers = convert(own);
  const rule = RULES[ruleName](numbers, s_n, s_p);
  const total = AGGREGATES[aggregateName](rule.pos, rule.neg, numbers);
  const separate = aggregateName === "separate";
  return {
    loss: total.loss,
    gradient_n: total.zN * rule.slopeN,
    gradient_p: total.zP * rule.slopeP,
    alpha_n: rule.slopeN / rule.scaleN,
    alpha_p: -rule.slopeP / rule.scaleP,
    decision: separate ? Math.max(rule.pos, rule.neg) : rule.pos + rule.neg,
    unit: separate ? 1 : rule.scaleN,
  };
}
window.circletEvaluate = circletEvaluate;

/** Losses as modules: their options are kept, their operands are given. */
import type { Operand, Tensor } from "../ops/tensor.ts";
import {
  gaussianNllLoss,
  type GaussianNllOptions,
  huberLoss,
  type HuberOptions,
  l1Loss,
  type LossOptions,
  mseLoss,
  poissonNllLoss,
  type PoissonNllOptions,
  smoothL1Loss,
  type SmoothL1Options,
  type WeightedLossOptions,
} from "./loss.ts";
import {
  bceLoss,
  type BceOptions,
  bceWithLogits,
  crossEntropy,
  type CrossEntropyOptions,
  klDiv,
  type KlDivOptions,
  nllLoss,
  type NllOptions,
} from "./loss_class.ts";
import {
  cosineEmbeddingLoss,
  hingeEmbeddingLoss,
  type MarginOptions,
  marginRankingLoss,
  multilabelMarginLoss,
  multilabelSoftMarginLoss,
  type MultilabelSoftMarginOptions,
  multiMarginLoss,
  type MultiMarginOptions,
  softMarginLoss,
  tripletMarginLoss,
  type TripletMarginOptions,
} from "./loss_margin.ts";
import { Module } from "./module.ts";

/** A loss with its options. */
export abstract class Loss<O> extends Module {
  /** With these options, as its function takes them. */
  constructor(readonly options: O = {} as O) {
    super();
  }
}

/** {@linkcode mseLoss} as a module. */
export class MSELoss extends Loss<WeightedLossOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return mseLoss(input, target, this.options);
  }
}

/** {@linkcode l1Loss} as a module. */
export class L1Loss extends Loss<WeightedLossOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return l1Loss(input, target, this.options);
  }
}

/** {@linkcode smoothL1Loss} as a module. */
export class SmoothL1Loss extends Loss<SmoothL1Options> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return smoothL1Loss(input, target, this.options);
  }
}

/** {@linkcode huberLoss} as a module. */
export class HuberLoss extends Loss<HuberOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return huberLoss(input, target, this.options);
  }
}

/** {@linkcode gaussianNllLoss} as a module. */
export class GaussianNLLLoss extends Loss<GaussianNllOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor, variance: Operand): Tensor {
    return gaussianNllLoss(input, target, variance, this.options);
  }
}

/** {@linkcode poissonNllLoss} as a module. */
export class PoissonNLLLoss extends Loss<PoissonNllOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return poissonNllLoss(input, target, this.options);
  }
}

/** {@linkcode nllLoss} as a module. */
export class NLLLoss extends Loss<NllOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return nllLoss(input, target, this.options);
  }
}

/** {@linkcode crossEntropy} as a module. */
export class CrossEntropyLoss extends Loss<CrossEntropyOptions> {
  /** The loss of its operands. */
  override forward(logits: Tensor, target: Tensor): Tensor {
    return crossEntropy(logits, target, this.options);
  }
}

/** {@linkcode bceLoss} as a module. */
export class BCELoss extends Loss<WeightedLossOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return bceLoss(input, target, this.options);
  }
}

/** {@linkcode bceWithLogits} as a module. */
export class BCEWithLogitsLoss extends Loss<BceOptions> {
  /** The loss of its operands. */
  override forward(logits: Tensor, target: Tensor): Tensor {
    return bceWithLogits(logits, target, this.options);
  }
}

/** {@linkcode klDiv} as a module. */
export class KLDivLoss extends Loss<KlDivOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return klDiv(input, target, this.options);
  }
}

/** {@linkcode hingeEmbeddingLoss} as a module. */
export class HingeEmbeddingLoss extends Loss<MarginOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return hingeEmbeddingLoss(input, target, this.options);
  }
}

/** {@linkcode marginRankingLoss} as a module. */
export class MarginRankingLoss extends Loss<MarginOptions> {
  /** The loss of its operands. */
  override forward(a: Tensor, b: Tensor, target: Tensor): Tensor {
    return marginRankingLoss(a, b, target, this.options);
  }
}

/** {@linkcode softMarginLoss} as a module. */
export class SoftMarginLoss extends Loss<LossOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return softMarginLoss(input, target, this.options);
  }
}

/** {@linkcode multilabelSoftMarginLoss} as a module. */
export class MultiLabelSoftMarginLoss extends Loss<MultilabelSoftMarginOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return multilabelSoftMarginLoss(input, target, this.options);
  }
}

/** {@linkcode multiMarginLoss} as a module. */
export class MultiMarginLoss extends Loss<MultiMarginOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return multiMarginLoss(input, target, this.options);
  }
}

/** {@linkcode multilabelMarginLoss} as a module. */
export class MultiLabelMarginLoss extends Loss<LossOptions> {
  /** The loss of its operands. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return multilabelMarginLoss(input, target, this.options);
  }
}

/** {@linkcode cosineEmbeddingLoss} as a module. */
export class CosineEmbeddingLoss extends Loss<MarginOptions> {
  /** The loss of its operands. */
  override forward(a: Tensor, b: Tensor, target: Tensor): Tensor {
    return cosineEmbeddingLoss(a, b, target, this.options);
  }
}

/** {@linkcode tripletMarginLoss} as a module. */
export class TripletMarginLoss extends Loss<TripletMarginOptions> {
  /** The loss of its operands. */
  override forward(anchor: Tensor, positive: Tensor, negative: Tensor): Tensor {
    return tripletMarginLoss(anchor, positive, negative, this.options);
  }
}

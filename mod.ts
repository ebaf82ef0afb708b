/**
 * Automatic differentiation that you can see: lazy tensors on Deno's WebGPU and on the host, transforms that
 * compose, and display hooks for notebooks.
 *
 * @module
 */
import { startDevices } from "./gpu/devices.ts";
import { setPresenter } from "./ops/presenter.ts";
import { setInterruption } from "./ops/runs.ts";
import { interruption, repairKernel, reportFault } from "./display/kernel.ts";
import { setProgressFactory } from "./nn/progress.ts";
import { fitProgress } from "./display/fit_progress.ts";
import { graph } from "./display/graph_of.ts";
import { displayHolder } from "./display/holders.ts";
import { displayTensor, inspectTensor } from "./display/tensor.ts";
import "./ops/transforms/backward.ts";

export { Tensor } from "./ops/tensor.ts";
export type {
  BackwardOptions,
  CloseOptions,
  DivOptions,
  GeluOptions,
  Nested,
  Operand,
  PutOptions,
  QuantileOptions,
  ReduceOptions,
  ScatterOptions,
  SoftplusOptions,
  SortOptions,
  SumOptions,
  TensorHook,
  TrapezoidOptions,
  TypeOptions,
  Unique,
} from "./ops/tensor.ts";
export type { IndexKey } from "./ops/definitions/places.ts";
export type { ScatterReduction } from "./ops/definitions/scattering.ts";
export type { PadMode, PadOptions } from "./ops/definitions/sliding.ts";
export type { SliceRange } from "./ops/ranges.ts";
export type { Device } from "./ops/ambient.ts";
export { areDeterministicAlgorithmsEnabled, useDeterministicAlgorithms } from "./ops/determinism.ts";
export type { DType, TypedArray } from "./ops/dtype.ts";
export type { Shape } from "./ops/shape.ts";
export { memory, plannedMemory, resetPeakMemoryStats, setMemoryBudget } from "./ops/memory.ts";
export type { MemoryPlan } from "./ops/memory.ts";
export { OutOfMemoryError } from "./ops/out_of_memory.ts";
export type { MemoryReport } from "./ops/runs.ts";
export type { MimeBundle, PrintedPlace } from "./ops/presenter.ts";
export {
  arange,
  defaultDevice,
  eye,
  full,
  linspace,
  logspace,
  ones,
  setDefaultDevice,
  tensor,
  trilIndices,
  triuIndices,
  zeros,
} from "./ops/create.ts";
export type { TensorOptions } from "./ops/create.ts";
export {
  alphaDropout,
  bernoulli,
  categorical,
  dropout,
  dropout1d,
  dropout2d,
  dropout3d,
  exponential,
  featureAlphaDropout,
  gumbel,
  multinomial,
  normal,
  rand,
  randint,
  randintLike,
  randLike,
  randn,
  randnLike,
  randperm,
} from "./ops/sampling.ts";
export type { DrawOptions, ExponentialOptions, MultinomialOptions } from "./ops/sampling.ts";
export { searchsorted } from "./ops/functions/search.ts";
export type { SearchOptions } from "./ops/functions/search.ts";
export type { Found, Interpolation } from "./ops/definitions/order.ts";
export type { Weights } from "./ops/definitions/statistics.ts";
export {
  conv1d,
  conv2d,
  conv3d,
  convTranspose1d,
  convTranspose2d,
  convTranspose3d,
} from "./ops/functions/convolution.ts";
export type { Conv, ConvOptions, ConvTranspose, ConvTransposeOptions } from "./ops/functions/convolution.ts";
export {
  adaptiveAvgPool1d,
  adaptiveAvgPool2d,
  adaptiveAvgPool3d,
  adaptiveMaxPool1d,
  adaptiveMaxPool2d,
  adaptiveMaxPool3d,
  avgPool1d,
  avgPool2d,
  avgPool3d,
  localResponseNorm,
  lpPool1d,
  lpPool2d,
  lpPool3d,
  maxPool1d,
  maxPool2d,
  maxPool3d,
} from "./ops/functions/pooling.ts";
export type {
  AdaptiveAvgPool,
  AdaptiveMaxPool,
  AvgPool,
  AvgPoolOptions,
  LpPool,
  LpPoolOptions,
  MaxPool,
  MaxPoolOptions,
  OutputSize,
  Pooled,
} from "./ops/functions/pooling.ts";
export { gridSample } from "./ops/functions/grid_sample.ts";
export type { GridSampleOptions } from "./ops/functions/grid_sample.ts";
export { maxUnpool1d, maxUnpool2d, maxUnpool3d } from "./ops/functions/unpool.ts";
export type { MaxUnpool, MaxUnpoolOptions } from "./ops/functions/unpool.ts";
export { fold, unfold } from "./ops/functions/unfold.ts";
export type { UnfoldOptions } from "./ops/functions/unfold.ts";
export { interpolate } from "./ops/functions/interpolate.ts";
export type { InterpolateMode, InterpolateOptions } from "./ops/functions/interpolate.ts";
export type { PerAxis } from "./ops/functions/spatial.ts";
export {
  atleast1d,
  atleast2d,
  atleast3d,
  blockDiag,
  broadcastTensors,
  cartesianProd,
  cat,
  columnStack,
  combinations,
  dstack,
  einsum,
  embedding,
  embeddingBag,
  hstack,
  meshgrid,
  split,
  stack,
  vander,
  vstack,
  where,
} from "./ops/functions.ts";
export type {
  CombinationOptions,
  EmbeddingBagOptions,
  EmbeddingLookup,
  MeshgridOptions,
  VanderOptions,
} from "./ops/functions.ts";
export { scaledDotProductAttention } from "./ops/functions/attention.ts";
export type { AttentionOptions } from "./ops/functions/attention.ts";
export { batchNorm, groupNorm, instanceNorm, layerNorm, rmsNorm } from "./ops/functions/normalization.ts";
export type { NormOptions, RmsNormOptions, RunningNormOptions } from "./ops/functions/normalization.ts";
/** Linear algebra on matrices in the last two axes: PyTorch's torch.linalg in camelCase. */
export * as linalg from "./ops/linalg/mod.ts";
export type {
  EighOptions,
  LeastSquares,
  LinalgNormOptions,
  LUFactors,
  LUSolveOptions,
  MatrixNormOptions,
  MatrixOrder,
  QrOptions,
  SolveOptions,
  SolveTriangularOptions,
  SvdOptions,
  ToleranceOptions,
  TriangleOptions,
  VectorNormOptions,
} from "./ops/linalg/mod.ts";
export type { AddedProductOptions, Contracted } from "./ops/definitions/products.ts";
export { bilinear, chainMatmul, tensordot } from "./ops/functions/products.ts";
export { cdist, cosineSimilarity, normalize, pairwiseDistance, pdist } from "./ops/functions/distance.ts";
export type { CosineOptions, NormalizeOptions, PairwiseDistanceOptions } from "./ops/functions/distance.ts";
export { manualSeed, rngState, setRngState, withSeed } from "./ops/rng.ts";
export type { RngState } from "./ops/rng.ts";
export { sync } from "./ops/runs.ts";
export { enableGrad, noGrad, tidy } from "./ops/transforms/backward.ts";
export { grad, jvp, linearize, stopGradient, valueAndGrad, vjp } from "./ops/transforms/functional.ts";
export type { Any, GradOptions, Pullback } from "./ops/transforms/functional.ts";
export { vmap } from "./ops/transforms/vmap.ts";
export type { Axis, AxisTree, VmapOptions } from "./ops/transforms/vmap.ts";
export { jit } from "./ops/transforms/jit.ts";
export type { Jitted } from "./ops/transforms/jit.ts";
export { checkpoint } from "./ops/transforms/checkpoint.ts";
export { customJvp, customVjp, straightThrough } from "./ops/transforms/custom.ts";
export { scan } from "./ops/transforms/scan.ts";
export type { ScanOptions } from "./ops/transforms/scan.ts";
export { cond } from "./ops/transforms/cond.ts";
export { whileLoop } from "./ops/transforms/while_loop.ts";
export type { BoundedLoopOptions, LoopOptions } from "./ops/transforms/while_loop.ts";
export { customLinearSolve, customRoot } from "./ops/transforms/implicit.ts";
export type { LinearMap, LinearSolver } from "./ops/transforms/implicit.ts";
export { cg, gmres } from "./ops/transforms/krylov.ts";
export type { KrylovOptions } from "./ops/transforms/krylov.ts";
export { fixedPoint, rootFind } from "./ops/transforms/fixed_point.ts";
export type {
  AwaitedRootOptions,
  BoundedRootOptions,
  FixedPointMethod,
  RootOptions,
} from "./ops/transforms/fixed_point.ts";
export { hessian, hvp, jacfwd, jacrev } from "./ops/transforms/jacobian.ts";
export { treeLeaves, treeMap } from "./ops/transforms/tree.ts";
export type { Tree } from "./ops/transforms/tree.ts";
export { gradcheck, GradcheckError, gradgradcheck } from "./ops/gradcheck.ts";
export type { GradcheckOptions, GradcheckReport, WorstElement } from "./ops/gradcheck.ts";
export { AnomalyError, detectAnomaly } from "./ops/anomaly.ts";
export { setAdvice } from "./ops/advice.ts";

export {
  Flatten,
  GELU,
  gelu,
  GLU,
  Lambda,
  LogSigmoid,
  LogSoftmax,
  Mish,
  ReLU,
  Sigmoid,
  SiLU,
  Softmax,
  Softmin,
  Softplus,
  Softsign,
  Tanh,
  Tanhshrink,
} from "./nn/activation.ts";
export {
  CELU,
  ELU,
  Hardshrink,
  Hardsigmoid,
  Hardswish,
  Hardtanh,
  LeakyReLU,
  PReLU,
  ReLU6,
  SELU,
  Softshrink,
  Threshold,
} from "./nn/piecewise.ts";
export type { PReLUOptions } from "./nn/piecewise.ts";
export { Adam, AdamW } from "./nn/adam.ts";
export type { AdamOptions } from "./nn/adam.ts";
export type { Bucket, BucketState, Decay, FlatStep, FlatUpdate, Pair } from "./nn/bucket.ts";
export { MultiheadAttention } from "./nn/attention.ts";
export type { AttendOptions, MultiheadAttentionOptions } from "./nn/attention.ts";
export { loadCheckpoint, saveCheckpoint } from "./nn/checkpoint.ts";
export type { CheckpointParts, Stateful } from "./nn/checkpoint.ts";
export { clipGradNorm, clipGradValue } from "./nn/clip.ts";
export type { ClipOptions } from "./nn/clip.ts";
export { collate } from "./nn/columns.ts";
export type { ArrayColumn, Dataset } from "./nn/columns.ts";
export {
  Conv1d,
  Conv2d,
  Conv3d,
  ConvolutionLayer,
  ConvTranspose1d,
  ConvTranspose2d,
  ConvTranspose3d,
} from "./nn/convolution.ts";
export type { ConvLayerOptions, ConvTransposeLayerOptions } from "./nn/convolution.ts";
export { DataLoader } from "./nn/data_loader.ts";
export type { LoaderOptions, LoaderState } from "./nn/data_loader.ts";
export { AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout } from "./nn/dropout.ts";
export { Embedding } from "./nn/embedding.ts";
export type { EmbeddingOptions } from "./nn/embedding.ts";
export { fit } from "./nn/fit.ts";
export type { FitOptimizer, FitOptions, FitReport, Metrics, StepInfo } from "./nn/fit.ts";
export { functionalCall } from "./nn/functional_call.ts";
export type { ForwardHook, ForwardPreHook, FullBackwardHook } from "./nn/hooks.ts";
/** Starting values of weights: fresh tensors by shape, `[out, in, ...kernel]` as layers keep them. */
export * as init from "./nn/init.ts";
export type { GainOptions, HeOptions, Initializer, Nonlinearity } from "./nn/init.ts";
export { Linear } from "./nn/linear.ts";
export type { LinearOptions } from "./nn/linear.ts";
export { gaussianNllLoss, huberLoss, l1Loss, mseLoss, poissonNllLoss, smoothL1Loss } from "./nn/loss.ts";
export type {
  GaussianNllOptions,
  HuberOptions,
  LossOptions,
  PoissonNllOptions,
  Reduction,
  SmoothL1Options,
  WeightedLossOptions,
} from "./nn/loss.ts";
export { bceLoss, bceWithLogits, crossEntropy, klDiv, nllLoss } from "./nn/loss_class.ts";
export type { BceOptions, CrossEntropyOptions, KlDivOptions, NllOptions } from "./nn/loss_class.ts";
export {
  cosineEmbeddingLoss,
  hingeEmbeddingLoss,
  marginRankingLoss,
  multilabelMarginLoss,
  multilabelSoftMarginLoss,
  multiMarginLoss,
  softMarginLoss,
  tripletMarginLoss,
} from "./nn/loss_margin.ts";
export type {
  MarginOptions,
  MultilabelSoftMarginOptions,
  MultiMarginOptions,
  TripletMarginOptions,
} from "./nn/loss_margin.ts";
export {
  BCELoss,
  BCEWithLogitsLoss,
  CosineEmbeddingLoss,
  CrossEntropyLoss,
  GaussianNLLLoss,
  HingeEmbeddingLoss,
  HuberLoss,
  KLDivLoss,
  L1Loss,
  Loss,
  MarginRankingLoss,
  MSELoss,
  MultiLabelMarginLoss,
  MultiLabelSoftMarginLoss,
  MultiMarginLoss,
  NLLLoss,
  PoissonNLLLoss,
  SmoothL1Loss,
  SoftMarginLoss,
  TripletMarginLoss,
} from "./nn/loss_modules.ts";
export { Module, TensorOutline } from "./nn/module.ts";
export type { LoadReport, Member, ParameterTree } from "./nn/module.ts";
export {
  BatchNorm,
  BatchNorm1d,
  BatchNorm2d,
  BatchNorm3d,
  GroupNorm,
  InstanceNorm,
  InstanceNorm1d,
  InstanceNorm2d,
  InstanceNorm3d,
  LayerNorm,
  RMSNorm,
} from "./nn/norm.ts";
export type { BatchNormOptions, GroupNormOptions, LayerNormOptions, RMSNormOptions } from "./nn/norm.ts";
export { Optimizer, ParameterGroup } from "./nn/optimizer.ts";
export type { GroupOptions, OptimizerState, RateOptions, Trainable } from "./nn/optimizer.ts";
export { buffer, parameter } from "./nn/parameter.ts";
export type { Role } from "./nn/parameter.ts";
export {
  AdaptiveAvgPool1d,
  AdaptiveAvgPool2d,
  AdaptiveAvgPool3d,
  AdaptiveMaxPool1d,
  AdaptiveMaxPool2d,
  AdaptiveMaxPool3d,
  AvgPool1d,
  AvgPool2d,
  AvgPool3d,
  Fold,
  LocalResponseNorm,
  LPPool1d,
  LPPool2d,
  MaxPool1d,
  MaxPool2d,
  MaxPool3d,
  Unfold,
  Upsample,
} from "./nn/pooling.ts";
export type { MaxPoolLayerOptions } from "./nn/pooling.ts";
export { setProgressFactory } from "./nn/progress.ts";
export type { LossEntry, Progress, ProgressEnd, ProgressInfo } from "./nn/progress.ts";
export { RNNCell } from "./nn/rnn_cell.ts";
export { loadSafetensors, readSafetensors, saveSafetensors, writeSafetensors } from "./nn/safetensors.ts";
export type { SafetensorsFile } from "./nn/safetensors.ts";
export { LRScheduler } from "./nn/schedule.ts";
export type { Schedule } from "./nn/schedule.ts";
/** Learning rates over time: functions from a step, counted from 0, to a rate. */
export * as schedules from "./nn/schedule.ts";
export { Sequential } from "./nn/sequential.ts";
export { SGD } from "./nn/sgd.ts";
export type { SGDOptions } from "./nn/sgd.ts";
export {
  rotaryPositions,
  sinusoidalPositions,
  TransformerDecoderLayer,
  TransformerEncoderLayer,
  TransformerLayer,
} from "./nn/transformer.ts";
export type { RotaryOptions, TransformerLayerOptions } from "./nn/transformer.ts";
export { graph };
export type { Picture, TensorGraphOptions } from "./ops/presenter.ts";
export { program, ProgramDrawing, ProgramKernel } from "./display/program_of.ts";
export type { ProgramOptions } from "./display/program_of.ts";
export type { Bundle, Drawing, Presentation } from "./display/bundle.ts";
export { drawGraph } from "./display/graph.ts";
export type {
  GraphEdge,
  GraphGroup,
  GraphNode,
  GraphOptions,
  GraphPicture,
  KernelWork,
} from "./display/graph.ts";
export { lineChart, scatterChart } from "./display/chart.ts";
export type {
  Chart,
  ChartOptions,
  LineChartOptions,
  Numbers,
  Points,
  ScatterChartOptions,
  Values,
} from "./display/chart.ts";
export type { VegaLiteSpec } from "./display/vega.ts";
export { functionChart, singularValues } from "./display/function_chart.ts";
export type { FunctionChartOptions, ScalarFunction, SingularValueOptions } from "./display/function_chart.ts";
export { lossLandscape } from "./display/landscape.ts";
export type { LandscapeOptions } from "./display/landscape.ts";
export { memoryChart } from "./display/memory_chart.ts";
export { heatmap } from "./display/heatmap.ts";
export type { HeatmapOptions } from "./display/heatmap.ts";
export {
  activationHistograms,
  gradientHistograms,
  gradientNorms,
  saturation,
} from "./display/layer_plots.ts";
export type { GradientNormOptions, ModelLoss } from "./display/layer_plots.ts";
export { recordLayers } from "./display/layer_record.ts";
export type { LayerRecord } from "./display/layer_record.ts";
export { diagnose } from "./display/diagnose.ts";
export type {
  Cause,
  DiagnosedOptimizer,
  DiagnoseOptions,
  Diagnosis,
  Finding,
  LayerFacts,
  LossOrStep,
} from "./display/diagnose.ts";
export { summary } from "./display/holders.ts";
export { table } from "./display/table.ts";
export type { TableOptions } from "./display/table.ts";
export { profile } from "./display/profile.ts";
export type { KernelSummary, Profile, ProfileOptions, Trace, TraceEvent } from "./display/profile.ts";
export type { KernelTime, Roofline, RunTime, Timed } from "./ops/profile.ts";
export type { Work } from "./ops/cost.ts";
export type { Cost } from "./ops/primitive.ts";
export { liveDisplay, show } from "./display/show.ts";
export type { LiveDisplay } from "./display/show.ts";
export { trainingProgress } from "./display/progress.ts";
export type { ProgressOptions, ProgressState, Reading, TrainingProgress } from "./display/progress.ts";
export { interruptSignal, repairKernel, restoreKernel, yieldToEvents } from "./display/kernel.ts";
export { DeviceLostError, tuneProducts } from "./gpu/devices.ts";
export type { TunedProduct, TuneOptions } from "./gpu/devices.ts";

setProgressFactory(fitProgress);
setInterruption(interruption);
setPresenter({ display: displayTensor, inspect: inspectTensor, graph, displayHolder });
repairKernel();
await startDevices(reportFault);

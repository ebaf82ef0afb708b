/** What every check sees. */
import type { Module } from "../../nn/module.ts";
import type { FitOptimizer } from "../../nn/fit.ts";
import type { LayerWatch } from "../layers.ts";
import type { Readings } from "../readings.ts";
import type { Observation } from "./observe.ts";

/** The parts of an optimiser that a step needs. */
export type DiagnosedOptimizer = Pick<FitOptimizer, "lr" | "step" | "zeroGrad" | "parameters">;

/** The first step as the instruments saw it. */
export interface Context {
  /** The model. */
  readonly model: Module;
  /** The first step. */
  readonly first: Observation;
  /** Where numbers are asked for. */
  readonly readings: Readings;
  /** Calls of modules. */
  readonly layers: LayerWatch;
  /** What trains it, if given. */
  readonly optimizer: DiagnosedOptimizer | null;
}

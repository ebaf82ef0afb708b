/** A long training run, compiled or not, yielding or not: memory stays flat and nothing is lost. COTANGENT_SOAK=1 makes it 20,000 steps. */
import { assert, assertEquals } from "@std/assert";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  Adam,
  jit,
  manualSeed,
  memory,
  parameter,
  randn,
  resetPeakMemoryStats,
  sync,
  type Tensor,
  tensor,
} from "../../mod.ts";
import { testEach } from "../support/engines.ts";

setFlagsFromString("--expose-gc");
const gc: () => void = runInNewContext("gc");
const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

const STEPS = Deno.env.get("COTANGENT_SOAK") === "1" ? 20_000 : 1_000;
const MiB = 2 ** 20;
/** 256 KiB: a step makes 1 MiB of parameters, state and gradients. */
const SIZE = 65_536;

/** Bytes in use once what is unreachable has gone: of tensors, and of JavaScript. */
async function settled(device: "host" | "webgpu"): Promise<{ live: number; heap: number }> {
  await sync();
  for (let i = 0; i < 4; i++) {
    gc();
    await turn();
  }
  const { heapUsed, external } = Deno.memoryUsage();
  return { live: memory(device).live, heap: heapUsed + external };
}

for (const [how, compile] of [["plain", <F>(f: F): F => f], ["jitted", jit]] as const) {
  for (const pace of ["that yields", "in one synchronous loop"]) {
    testEach(`${STEPS} ${how} steps ${pace} are flat in memory and lose nothing`, async ({ device }) => {
      manualSeed(1);
      const w = parameter(randn([SIZE])), optimizer = new Adam([w], { lr: 1e-3 }), one = tensor(1);
      const count = tensor(0), kept: Tensor[] = [];
      const step = (compile as <F>(f: F) => F)((x: Tensor): Tensor => {
        optimizer.zeroGrad();
        const loss = w.sub(x).square().mean();
        loss.backward();
        optimizer.step();
        count.assign(count.add(1));
        return loss;
      });
      const train = async (n: number): Promise<void> => {
        for (let t = 0; t < n; t++) {
          const loss = step(one);
          if (t % 100 === 0) kept.push(loss.detach());
          if (pace === "that yields" && t % 20 === 0) await turn();
        }
      };
      // The first tenth warms up: caches, pools and threads.
      await train(STEPS / 10);
      const before = await settled(device);
      resetPeakMemoryStats(device);
      const used = memory(device).live;
      await train(STEPS);
      const { peak } = memory(device), after = await settled(device);
      assert(peak - used < 400 * MiB, `${((peak - used) / MiB).toFixed(0)} MiB were held at once`);
      assert(after.live - before.live < MiB, `${after.live - before.live} bytes of tensors stay behind`);
      const heap = (after.heap - before.heap) / STEPS;
      assert(heap < 3000, `${heap.toFixed(0)} bytes of JavaScript a step stay behind`);
      assertEquals(await count.item(), STEPS * 1.1);
      const losses = await Promise.all(kept.map((loss) => loss.item()));
      assertEquals(losses.length, Math.ceil(STEPS / 1000) + STEPS / 100);
      assert(losses.every((loss, i) => i === 0 || loss < losses[i - 1] || loss < 1e-4), `${losses}`);
    }, { only: ["host", "webgpu"] });
  }
}

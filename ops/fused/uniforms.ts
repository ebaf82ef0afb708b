/** Numbers that are not whole as uniforms of map kernels, which are. */

const bits = new DataView(new ArrayBuffer(4));

/** The f32 nearest to a number as the i32 of the same bits: WGSL reads it as `bitcast<f32>(u(k))`. */
export function f32Bits(x: number): number {
  bits.setFloat32(0, x);
  return bits.getInt32(0);
}

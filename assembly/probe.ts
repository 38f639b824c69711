// The smallest module that needs SIMD: engines that validate it get the SIMD build.
export function probe(): i32 {
  return i32x4.extract_lane(i32x4.splat(1), 0);
}

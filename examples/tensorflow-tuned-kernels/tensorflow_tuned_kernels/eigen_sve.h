// What GCC and Eigen leave on the table with SVE vectors of a fixed length.
#pragma once

#include <arm_sve.h>

// Eigen computes on whole vectors and yet asks for inactive lanes to be zeroed (arch/SVE/PacketMath.h). There are
// none, but GCC 12 pays a movprfx for it: one more instruction for each of the inner loop's.
#define svabs_f32_z svabs_f32_x
#define svadd_f32_z svadd_f32_x
#define svdiv_f32_z svdiv_f32_x
#define svmax_f32_z svmax_f32_x
#define svmin_f32_z svmin_f32_x
#define svmla_f32_z svmla_f32_x
#define svmul_f32_z svmul_f32_x
#define svneg_f32_z svneg_f32_x
#define svrintm_f32_z svrintm_f32_x
#define svsub_f32_z svsub_f32_x

#include "third_party/eigen3/Eigen/Core"

namespace Eigen::internal {

// Four values of the right-hand side by one load, each multiplied by its lane, in place of a load and a broadcast
// for each: what Eigen does with Advanced SIMD and not with SVE (arch/NEON/GeneralBlockPanelKernel.h).
template <>
struct gebp_traits<float, float, false, false, Architecture::SVE, GEBPPacketFull>
    : gebp_traits<float, float, false, false, Architecture::Generic, GEBPPacketFull> {
  using Base = gebp_traits<float, float, false, false, Architecture::Generic, GEBPPacketFull>;
  using Base::loadRhs;
  using Base::madd;
  using Base::updateRhs;

  struct RhsPacketx4 {
    PacketXf quad;
  };

  EIGEN_STRONG_INLINE void loadRhs(const float* values, RhsPacketx4& to) const {
    to.quad = svld1rq_f32(svptrue_b32(), values);
  }

  EIGEN_STRONG_INLINE void updateRhs(const float*, RhsPacketx4&) const {}

  template <int lane>
  EIGEN_STRONG_INLINE void madd(const LhsPacket& lhs, const RhsPacketx4& rhs, AccPacket& sum, RhsPacket&,
                                const FixedInt<lane>&) const {
    sum = svmla_lane_f32(sum, lhs, rhs.quad, lane);
  }
};

}  // namespace Eigen::internal

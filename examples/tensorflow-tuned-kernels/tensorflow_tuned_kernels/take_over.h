// Included before a file of TensorFlow's core/kernels: what that registers takes the place of the stock kernel.
//
// Of the kernels that match an op, a device and types, TensorFlow takes the one of the highest priority
// (core/framework/op_kernel.cc, FindKernelRegistration); stock kernels have 0. Each call of ours is counted.
#pragma once

#define EIGEN_USE_THREADS  // as each file of core/kernels does

#if defined(EIGEN_ARM64_USE_SVE)
#include "eigen_sve.h"
#endif

#include <atomic>
#include <cstdint>

#include "tensorflow/core/framework/op_kernel.h"

namespace tuned {

// How often kernels of an op were run; defined in calls.cpp.
std::atomic<std::int64_t>& calls_of(const std::string& op);

template <class Kernel>
class Counted final : public Kernel {
 public:
  explicit Counted(tensorflow::OpKernelConstruction* construction)
      : Kernel(construction), calls_(calls_of(this->type_string())) {}

  void Compute(tensorflow::OpKernelContext* context) override {
    calls_.fetch_add(1, std::memory_order_relaxed);
    Kernel::Compute(context);
  }

 private:
  std::atomic<std::int64_t>& calls_;
};

template <class Kernel>
bool take_over(const tensorflow::KernelDef* definition, const char* name) {
  tensorflow::kernel_factory::OpKernelRegistrar(
      definition, name,
      [](tensorflow::OpKernelConstruction* construction) -> tensorflow::OpKernel* {
        return new Counted<Kernel>(construction);
      });
  return true;
}

}  // namespace tuned

#undef REGISTER_KERNEL_BUILDER
#define REGISTER_KERNEL_BUILDER(builder, ...) TUNED_TAKE_OVER(__COUNTER__, builder, __VA_ARGS__)
#define TUNED_TAKE_OVER(number, builder, ...) TUNED_TAKE_OVER_AS(number, builder, __VA_ARGS__)
#define TUNED_TAKE_OVER_AS(number, builder, ...)          \
  [[maybe_unused]] static const bool tuned_##number =     \
      ::tuned::take_over<__VA_ARGS__>(                    \
          ::tensorflow::register_kernel::builder.Priority(1).Build(), "tuned " #__VA_ARGS__)

// The ops Bf16Dense and Bf16DenseKernel: a dense layer on bfloat16 with sums, bias and result in float32.

#include <algorithm>
#include <cstdint>

#include "kernel.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

tensorflow::Status shape(InferenceContext* context) {
    ShapeHandle x, weight, bias;
    DimensionHandle same;
    TF_RETURN_IF_ERROR(context->WithRank(context->input(0), 2, &x));
    TF_RETURN_IF_ERROR(context->WithRank(context->input(1), 2, &weight));
    TF_RETURN_IF_ERROR(context->WithRank(context->input(2), 1, &bias));
    TF_RETURN_IF_ERROR(context->Merge(context->Dim(x, 1), context->Dim(weight, 1), &same));
    TF_RETURN_IF_ERROR(context->Merge(context->Dim(weight, 0), context->Dim(bias, 0), &same));
    context->set_output(0, context->Matrix(context->Dim(x, 0), context->Dim(weight, 0)));
    return tensorflow::OkStatus();
}

REGISTER_OP("Bf16Dense")
    .Input("x: bfloat16")
    .Input("weight: bfloat16")
    .Input("bias: float")
    .Attr("relu: bool = false")
    .Output("y: float")
    .SetShapeFn(shape)
    .Doc("x [rows, depth] times weight [outputs, depth] transposed, plus bias, cut below zero with relu.");

REGISTER_OP("Bf16DenseKernel")
    .Output("name: string")
    .SetShapeFn([](InferenceContext* context) {
        context->set_output(0, context->Scalar());
        return tensorflow::OkStatus();
    })
    .Doc("Which path of the kernel was compiled.");

const uint16_t* bits(const Tensor& tensor) {
    return reinterpret_cast<const uint16_t*>(tensor.flat<tensorflow::bfloat16>().data());
}

class Bf16Dense : public OpKernel {
public:
    explicit Bf16Dense(OpKernelConstruction* context) : OpKernel(context) {
        OP_REQUIRES_OK(context, context->GetAttr("relu", &relu_));
    }

    void Compute(OpKernelContext* context) override {
        const Tensor &x = context->input(0), &weight = context->input(1), &bias = context->input(2);
        OP_REQUIRES(context, x.dims() == 2 && weight.dims() == 2 && bias.dims() == 1,
                    InvalidArgument("x and weight must have two dimensions, bias one"));
        OP_REQUIRES(context, x.dim_size(1) == weight.dim_size(1),
                    InvalidArgument("x has rows of ", x.dim_size(1), ", weight of ", weight.dim_size(1)));
        OP_REQUIRES(context, bias.dim_size(0) == weight.dim_size(0),
                    InvalidArgument("bias has ", bias.dim_size(0), " values, weight ", weight.dim_size(0), " rows"));
        const int64_t height = x.dim_size(0), width = weight.dim_size(0), depth = x.dim_size(1);
        Tensor* result = nullptr;
        OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({height, width}), &result));
        if (result->NumElements() == 0) return;

        using kernel::columns;
        using kernel::rows;
        const uint16_t *left = bits(x), *right = bits(weight);
        const float* offsets = bias.flat<float>().data();
        float* out = result->flat<float>().data();
        const int64_t down = (height + rows - 1) / rows, across = (width + columns - 1) / columns;
        // Rows of x go by under a few rows of weight, which stay in the nearest cache.
        const auto work = [&, relu = relu_](int64_t from, int64_t to) {
            for (int64_t n = from; n < to; ++n) {
                const int64_t top = n % down * rows, side = n / down * columns;
                const uint16_t *a[rows], *b[columns];
                // At the edge the last row stands in for those beyond it; what it gives there is left out.
                for (int i = 0; i < rows; ++i) a[i] = left + std::min(top + i, height - 1) * depth;
                for (int j = 0; j < columns; ++j) b[j] = right + std::min(side + j, width - 1) * depth;
                float sums[rows][columns];
                kernel::tile(a, b, depth, sums);
                for (int64_t i = 0; i < std::min<int64_t>(rows, height - top); ++i)
                    for (int64_t j = 0; j < std::min<int64_t>(columns, width - side); ++j) {
                        const float value = sums[i][j] + offsets[side + j];
                        out[(top + i) * width + side + j] = relu ? std::max(value, 0.0F) : value;
                    }
            }
        };
        const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
        tensorflow::Shard(workers.num_threads, workers.workers, down * across, depth * rows * columns, work);
    }

private:
    bool relu_ = false;
};

class Bf16DenseKernel : public OpKernel {
public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* context) override {
        Tensor* result = nullptr;
        OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({}), &result));
        result->scalar<tensorflow::tstring>()() = kernel::name;
    }
};

REGISTER_KERNEL_BUILDER(Name("Bf16Dense").Device(tensorflow::DEVICE_CPU), Bf16Dense);
REGISTER_KERNEL_BUILDER(Name("Bf16DenseKernel").Device(tensorflow::DEVICE_CPU), Bf16DenseKernel);

}  // namespace

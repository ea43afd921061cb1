/* A C interface to functions of Arm Compute Library, whose own is C++ and changes between releases.

   Each make_* function returns a handle, or a null pointer if the library refuses the function. Tensors are numbered
   in the order of the arguments; the result is the last. Values are passed as float in the order of memory. */
#include <arm_compute/core/Types.h>
#include <arm_compute/runtime/NEON/NEFunctions.h>
#include <arm_compute/runtime/Scheduler.h>
#include <arm_compute/runtime/Tensor.h>

#include <exception>
#include <functional>
#include <memory>
#include <vector>

using namespace arm_compute;

namespace
{
struct Call
{
    std::vector<std::unique_ptr<Tensor>> tensors;
    std::function<void()> run;

    Tensor *add(const TensorShape &shape, bool half, bool channels_last = false)
    {
        TensorInfo info(shape, 1, half ? DataType::F16 : DataType::F32);
        if (channels_last)
            info.set_data_layout(DataLayout::NHWC);
        tensors.push_back(std::make_unique<Tensor>());
        tensors.back()->allocator()->init(info);
        return tensors.back().get();
    }
};

const ITensorInfo *described(Tensor *tensor) { return tensor->info(); }
template <typename Argument> const Argument &described(const Argument &argument) { return argument; }

template <typename Function, typename... Arguments>
void *configured(std::unique_ptr<Call> call, Arguments &&...arguments)
{
    try
    {
        if (!Function::validate(described(arguments)...))
            return nullptr;
        auto function = std::make_shared<Function>();
        function->configure(std::forward<Arguments>(arguments)...);
        for (auto &tensor : call->tensors)
            tensor->allocator()->allocate();
        call->run = [function] { function->run(); };
        return call.release();
    }
    catch (const std::exception &)
    {
        return nullptr;
    }
}

template <typename Visit> void each(Tensor &tensor, Visit visit)
{
    Window window;
    window.use_tensor_dimensions(tensor.info()->tensor_shape());
    size_t place = 0;
    execute_window_loop(window, [&](const Coordinates &at) { visit(tensor.ptr_to_element(at), place++); });
}
} // namespace

extern "C"
{
    void one_thread() { Scheduler::set(Scheduler::Type::ST); }

    void *make_gemm(int rows, int inner, int columns, int half)
    {
        auto call = std::make_unique<Call>();
        auto *a = call->add(TensorShape(inner, rows), half), *b = call->add(TensorShape(columns, inner), half);
        auto *result = call->add(TensorShape(columns, rows), half);
        return configured<NEGEMM>(std::move(call), a, b, nullptr, result, 1.f, 0.f,
                                  GEMMInfo(false, false, true));
    }

    void *make_convolution(int channels, int size, int window, int half)
    {
        auto call = std::make_unique<Call>();
        auto *image = call->add(TensorShape(channels, size, size), half, true);
        auto *weights = call->add(TensorShape(channels, window, window, channels), half, true);
        auto *result = call->add(TensorShape(channels, size, size), half, true);
        return configured<NEConvolutionLayer>(std::move(call), image, weights, nullptr, result,
                                              PadStrideInfo(1, 1, window / 2, window / 2));
    }

    void *make_depthwise(int channels, int size, int window, int half)
    {
        auto call = std::make_unique<Call>();
        auto *image = call->add(TensorShape(channels, size, size), half, true);
        auto *weights = call->add(TensorShape(channels, window, window), half, true);
        auto *result = call->add(TensorShape(channels, size, size), half, true);
        return configured<NEDepthwiseConvolutionLayer>(std::move(call), image, weights, nullptr, result,
                                                       PadStrideInfo(1, 1, window / 2, window / 2));
    }

    void *make_activation(int kind, int count, int half)
    {
        static const ActivationLayerInfo::ActivationFunction kinds[] = {
            ActivationLayerInfo::ActivationFunction::RELU, ActivationLayerInfo::ActivationFunction::TANH,
            ActivationLayerInfo::ActivationFunction::LOGISTIC};
        auto call = std::make_unique<Call>();
        auto *source = call->add(TensorShape(count), half), *result = call->add(TensorShape(count), half);
        return configured<NEActivationLayer>(std::move(call), source, result,
                                             ActivationLayerInfo(kinds[kind], 1.f, 1.f));
    }

    void *make_exp(int count, int half)
    {
        auto call = std::make_unique<Call>();
        auto *source = call->add(TensorShape(count), half), *result = call->add(TensorShape(count), half);
        return configured<NEExpLayer>(std::move(call), source, result);
    }

    void *make_softmax(int rows, int columns, int half)
    {
        auto call = std::make_unique<Call>();
        auto *source = call->add(TensorShape(columns, rows), half);
        auto *result = call->add(TensorShape(columns, rows), half);
        return configured<NESoftmaxLayer>(std::move(call), source, result, 1.f);
    }

    void *make_maximum(int channels, int size, int half)
    {
        auto call = std::make_unique<Call>();
        auto *image = call->add(TensorShape(channels, size, size), half, true);
        auto *result = call->add(TensorShape(channels, size / 2, size / 2), half, true);
        return configured<NEPoolingLayer>(
            std::move(call), image, result,
            PoolingLayerInfo(PoolingType::MAX, 2, DataLayout::NHWC, PadStrideInfo(2, 2, 0, 0)));
    }

    void put(Call *call, int number, const float *values)
    {
        auto &tensor = *call->tensors[number];
        bool half = tensor.info()->data_type() == DataType::F16;
        each(tensor, [&](uint8_t *at, size_t place) {
            if (half)
                *reinterpret_cast<__fp16 *>(at) = static_cast<__fp16>(values[place]);
            else
                *reinterpret_cast<float *>(at) = values[place];
        });
    }

    void get(Call *call, float *values)
    {
        auto &tensor = *call->tensors.back();
        bool half = tensor.info()->data_type() == DataType::F16;
        each(tensor, [&](uint8_t *at, size_t place) {
            values[place] = half ? static_cast<float>(*reinterpret_cast<__fp16 *>(at)) : *reinterpret_cast<float *>(at);
        });
    }

    void run(Call *call) { call->run(); }
}

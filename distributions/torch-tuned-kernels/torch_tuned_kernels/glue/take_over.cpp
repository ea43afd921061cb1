// Takes over and gives back. Nothing happens when the library is loaded: `take_over` asks the machine first.

#include <c10/util/Exception.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "glue/glue.h"
#include "kernels/kernels.h"

namespace glue {
namespace {

// PyTorch warns, once in a process, that a kernel replaces another one (OperatorEntry.cpp). Here that is what was asked
// for. WarnAlways keeps that one warning for those who do it by accident.
class Quiet : c10::WarningHandler {
    void process(const c10::Warning& /*warning*/) override {}
    c10::WarningUtils::WarnAlways always_{true};
    c10::WarningUtils::WarningHandlerGuard guard_{this};
};

std::mutex changing;
std::unique_ptr<Taken> taken;

std::string take_over() {
    const std::lock_guard<std::mutex> hold(changing);
    std::string why;
    if (taken || !supported(why)) return why;
    const Quiet quiet;
    taken = std::make_unique<Taken>();
    take_products(*taken);
    take_int8(*taken);
    take_elementwise(*taken);
    take_gemm(*taken);
    take_pool(*taken);
    take_attention(*taken);
    take_convolution(*taken);
    return why;
}

void give_back() {
    const std::lock_guard<std::mutex> hold(changing);
    taken.reset();
}

std::vector<std::string> taken_over() {
    const std::lock_guard<std::mutex> hold(changing);
    std::vector<std::string> names;
    if (taken)
        for (const Operation* one : taken->operations) names.emplace_back(one->name);
    return names;
}

int64_t calls(const std::string& name) {
    const std::lock_guard<std::mutex> hold(changing);
    if (taken)
        for (const Operation* one : taken->operations)
            if (name == one->name) return one->calls.load(std::memory_order_relaxed);
    TORCH_CHECK(false, name, " is not taken over");
}

std::vector<std::string> compiled_to() {
    return {"bf16 products: " + std::string(tuned::products_bf16), "fp16 products: " + std::string(tuned::products_fp16),
            "int8 products: " + std::string(tuned::products_int8), "elementwise: " + std::string(tuned::elementwise)};
}

}  // namespace
}  // namespace glue

TORCH_LIBRARY(torch_tuned_kernels, library) {
    library.def("take_over() -> str", glue::take_over);
    library.def("give_back() -> ()", glue::give_back);
    library.def("taken_over() -> str[]", glue::taken_over);
    library.def("calls(str name) -> int", glue::calls);
    library.def("compiled_to() -> str[]", glue::compiled_to);
}

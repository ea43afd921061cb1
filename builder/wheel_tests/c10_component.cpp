// An extension of libc10, as other projects write them: its types, its allocator, its exceptions across libraries.
#include <c10/core/CPUAllocator.h>
#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>
#include <c10/util/Half.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <cstring>
#include <string>

namespace {

struct Counted : c10::intrusive_ptr_target {
  explicit Counted(int* alive) : alive_(alive) { ++*alive_; }
  ~Counted() override { --*alive_; }
  int* alive_;
};

} // namespace

extern "C" {

// The float nearest to `value` among bfloat16's and half's.
float through_bfloat16(float value) { return static_cast<float>(c10::BFloat16(value)); }
float through_half(float value) { return static_cast<float>(c10::Half(value)); }

// How many objects are left alive after `copies` references to one came and went; minus one if any went early.
int left_alive(int copies) {
  int alive = 0;
  {
    auto first = c10::make_intrusive<Counted>(&alive);
    for (int i = 0; i < copies; ++i) {
      auto other = first;
      if (alive != 1 || other.use_count() != 2) return -1;
    }
  }
  return alive;
}

// The sum of 0..count-1, held in memory of c10's own allocator; its address modulo 64 through `offset`.
int64_t sum_in_c10_memory(int64_t count, int64_t* offset) {
  c10::DataPtr memory = c10::GetCPUAllocator()->allocate(count * sizeof(int64_t));
  auto* values = static_cast<int64_t*>(memory.get());
  *offset = static_cast<int64_t>(reinterpret_cast<uintptr_t>(values) % 64);
  for (int64_t i = 0; i < count; ++i) values[i] = i;
  int64_t sum = 0;
  for (int64_t value : c10::ArrayRef<int64_t>(values, count)) sum += value;
  return sum;
}

// The message of an exception that libc10 throws and this library catches: both must mean the same type.
int caught_message(char* text, int size) {
  try {
    TORCH_CHECK(false, "seven is ", 7);
  } catch (const c10::Error& error) {
    std::string said = error.what_without_backtrace();
    std::strncpy(text, said.c_str(), static_cast<size_t>(size) - 1);
    return static_cast<int>(said.size());
  }
  return -1;
}

const char* name_of_bfloat16() { return c10::toString(c10::ScalarType::BFloat16); }

}

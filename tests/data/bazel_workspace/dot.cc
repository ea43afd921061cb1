#include "dot.h"

#include <sstream>

#include "table.h"

int32_t Dot(const int8_t* a, const int8_t* b, int size) {
  int32_t sum = 0;
  for (int n = 0; n < size; ++n) sum += int32_t{a[n]} * b[n];
  return sum;
}

std::string About() {
  std::ostringstream said;
  int sum = 0;
  for (int value : kTable) sum += value;
  said << sizeof(kTable) / sizeof(int) << " entries, sum " << scale(sum) << ", SVE "
#ifdef __ARM_FEATURE_SVE
       << "on";
#else
       << "off";
#endif
  return said.str();
}

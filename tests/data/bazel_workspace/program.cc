#include <iostream>
#include <stdexcept>
#include <vector>

#include "dot.h"

int main() {
  std::vector<int8_t> a(1000), b(1000);
  for (int n = 0; n < 1000; ++n) a[n] = n % 11 - 5, b[n] = n % 7 - 3;
  try {
    throw std::runtime_error(About());
  } catch (const std::exception& error) {
    std::cout << Dot(a.data(), b.data(), 1000) << "; " << error.what() << std::endl;
  }
}

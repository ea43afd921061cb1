#include <cstdlib>
#include <iostream>

int main(int, char** arguments) {
  const int size = std::atoi(arguments[1]);
  std::cout << "static const int kTable[] = {";
  for (int n = 0; n < size; ++n) std::cout << n * n % 97 << ",";
  std::cout << "};\n";
}

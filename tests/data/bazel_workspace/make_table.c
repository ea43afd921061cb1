#include <stdio.h>
#include <stdlib.h>

int main(int count, char** arguments) {
  const int size = count > 1 ? atoi(arguments[1]) : 0;
  int step = 0;
  if (scanf("%d", &step) != 1) return 1;
  printf("static const int kTable[] = {");
  for (int n = 0; n < size; n += step) printf("%d,", n * n % 97);
  printf("};\n");
  return 0;
}

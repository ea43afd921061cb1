#ifdef __cplusplus
#error "C is compiled as C"
#endif

int scale(int value) { return 2 * value; }

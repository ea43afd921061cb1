#include "take_over.h"  // first

#include "tensorflow/core/kernels/conv_ops_fused_float.cc"

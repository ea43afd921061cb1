#include "take_over.h"  // first

#include "tensorflow/core/framework/register_types.h"

// softmax_op.cc has every type in one unit.
#undef TF_CALL_FLOAT_TYPES
#define TF_CALL_FLOAT_TYPES(call) TF_CALL_half(call)
#include "tensorflow/core/kernels/softmax_op.cc"

#pragma once
#include <cstdint>
#include <string>

int32_t Dot(const int8_t* a, const int8_t* b, int size);
std::string About();
extern "C" int scale(int value);

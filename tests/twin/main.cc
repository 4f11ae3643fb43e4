// SPDX-License-Identifier: Apache-2.0
#include "check.h"

int main(int argc, char** argv) {
  return twin_test::Main(argc, argv);
}

// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// Configuration of a pass of the special-function unit (docs/rtl.md, "Special-function unit").

package special_pkg;

  // Read streams.
  localparam int unsigned StreamX = 0;  // the source
  localparam int unsigned StreamY = 1;  // gamma, second operand, key scales, cos
  localparam int unsigned StreamZ = 2;  // beta, value scales, sin
  localparam int unsigned StreamW = 3;  // gate, second half of a rotated head
  localparam int unsigned Streams = 4;

  typedef enum logic [1:0] {
    A0Pass,
    A0Scalar,
    A0StreamY,
    A0Relu
  } a0_e;
  typedef enum logic [2:0] {
    M1Pass,
    M1Self,
    M1Scalar,
    M1StreamY
  } m1_e;
  typedef enum logic [1:0] {
    M2Pass,
    M2Scalar,
    M2StreamY
  } m2_e;
  typedef enum logic [1:0] {
    A3Pass,
    A3Scalar,
    A3StreamZ,
    A3Side
  } a3_e;
  typedef enum logic [1:0] {
    M10Pass,
    M10X,
    M10StreamZ
  } m10_e;

  // What each stage of the pipeline does in this pass; scalars stand beside it.
  typedef struct packed {
    a0_e a0;
    m1_e m1;
    m2_e m2;
    a3_e a3;
    logic m4;  // times the side product
    logic m6;  // times -log2 e
    logic e7;  // 2^
    logic a8;  // + 1
    logic r9;  // 1 /
    m10_e m10;
    logic m11;  // times stream W
    logic rotate;  // two steps a word: the halves of a rotated head
  } stages_t;

  typedef struct packed {
    logic [31:0] s0;  // a0
    logic [31:0] s1;  // m1
    logic [31:0] s2;  // m2
    logic [31:0] s3;  // a3
  } scalars_t;

  // A word that a pass goes through, or the header of a vector's codes.
  typedef struct packed {
    logic [4:0]  vec;     // vector of the batch
    logic [19:0] index;   // of a word; any in a slot without one
    logic        header;
    logic        empty;   // of a vector without words
    logic        first;   // of the vector
    logic        last;
  } slot_t;

  // Vectors of a batch: what a pass does to all of them before the next pass begins.
  localparam int unsigned Batch = 32;

  typedef enum logic [1:0] {
    MaxNone,
    MaxMagnitude,
    MaxOrdered
  } max_e;

  // Quantised activations, in the order of the ISA.
  typedef enum logic [2:0] {
    QuantNone,
    QuantA8,
    QuantDual,
    QuantKv8,
    QuantKv4
  } quant_e;

  // Scalar programs between passes.
  typedef enum logic [2:0] {
    ScalarMean,     // mean = sum * inv_n
    ScalarRsqrt,    // r = rsqrt(sum * inv_n + eps)
    ScalarQuant,    // scale and inverse of a8, dual
    ScalarQuantKv,  // of kv8, kv4
    ScalarSoftmax   // of the softmax's dual codes
  } program_e;

endpackage

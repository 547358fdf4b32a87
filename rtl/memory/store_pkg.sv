// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// What kv_append hands to the store unit.

package store_pkg;

  // Up to 16 bytes of every channel's beat that lie in one of its four chunks of 16.
  typedef struct packed {
    logic [33:0] beat;      // address / 64
    logic [1:0]  chunk;
    logic [15:0] mask;      // bytes of the chunk
    logic        low;       // their low nibbles are written too
    logic        spread;    // byte l is for channel l of the part; else all channels get the 16 bytes
    logic [1:0]  part;      // spread, more than 16 channels: which 16 of them
    logic        first;     // of its beat
    logic        last;
    logic        all;       // the beat is for all channels
    logic [5:0]  channel;   // else for this one
    logic [15:0][7:0] data;
  } step_t;

endpackage

// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// What the two halves of the load unit tell each other.

package load_pkg;

  typedef enum logic [2:0] {
    LoadVector,  // LDV, LDG rows
    LoadIds,     // LDG: token ids
    LoadMask,    // LDM
    LoadScales,  // LDS
    LoadKeys,    // LDK
    LoadEnd      // the instruction ends here
  } load_e;

  // A piece of memory, the same bytes on every channel, and where its content goes.
  typedef struct packed {
    load_e       kind;
    logic        half;         // fp16 elements
    logic [5:0]  offset;       // first byte within the first beat
    logic        single;       // one beat
    logic [25:0] beats;
    logic [6:0]  stop;         // behind the last byte within the last beat
    logic [19:0] dst;          // VB word; MB byte for LoadMask
    logic [23:0] slot;         // LoadScales: first slot
    logic [9:0]  heads;
    logic [19:0] dst_head;
    logic [3:0]  signal_mask;  // LoadEnd
  } segment_t;

endpackage

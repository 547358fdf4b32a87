// Copyright the flightllm authors. SPDX-License-Identifier: Apache-2.0
//
// One memory channel: the only process that uses its AXI port. Requests of the weight loads, the KV loads, the vector loads and
// the instruction fetch become bursts, several of them under way; words go to whom they belong in the order of the requests.
// A burst is asked for only if its data has room, so a full ring never blocks the port.
#pragma once

#include <type_traits>

#include "types.hpp"

namespace flight {

// Words of the port from `first` on. skip, take: of the 8-byte words in them, those that a KV load leaves out at the beginning, and
// those that it wants.
struct ReadRequest {
  std::uint64_t first;
  std::uint32_t words;
  std::uint8_t skip;
  std::uint32_t take;
};

// The words of the port that hold `bytes` bytes from `address` on, both multiples of 8.
template <class Config>
ReadRequest request_of(std::uint64_t address, std::uint32_t bytes) {
#pragma HLS inline
  const std::uint32_t skip = address % kPortBytes<Config>;
  return ReadRequest{address / kPortBytes<Config>, (skip + bytes + kPortBytes<Config> - 1) / kPortBytes<Config>,
                     static_cast<std::uint8_t>(skip / 8), bytes / 8};
}

// A word of a KV stream: `count` of its 8-byte words from `first` on belong to it.
template <class Config>
struct KeyWord {
  Word<Config> data;
  std::uint8_t first, count;
};

// One word to write. words: of the burst that begins with it, 0 inside a burst. end: nothing is written; answer when all that
// came before is in memory.
template <class Config>
struct WriteRequest {
  std::uint64_t first;
  Word<Config> data;
  ap_uint<kPortBytes<Config>> strobe;
  std::uint16_t words;
  bool end;
};

// What a channel answers: `left` requests that it was stopped before.
struct ChannelAnswer {
  bool left;
};

constexpr int kBurstWords = 16;  // of a read
constexpr int kFlights = 16;     // reads under way
constexpr int kWeightFlights = 4;  // of them weights, so that keys do not wait behind many
constexpr int kWritesOwed = 16;  // write bursts without a response

// Words that the rings hold.
template <class Config>
constexpr int kWRingWords = Config::kWRingBytes / kPortBytes<Config>;
template <class Config>
constexpr int kKRingWords = Config::kKRingBytes / kPortBytes<Config>;
// Words of a load that may wait for the execute process; the instruction buffer.
constexpr int kLoadWords = 64;
constexpr int kFetchInstructions = 16;
template <class Config>
constexpr int kFetchWords = kFetchInstructions * isa::kInstructionBytes / kPortBytes<Config>;

template <class Config>
using WeightStream = hls::stream<Word<Config>, kWRingWords<Config>>;
template <class Config>
using KeyStream = hls::stream<KeyWord<Config>, kKRingWords<Config>>;
template <class Config>
using LoadStream = hls::stream<Word<Config>, kLoadWords>;
template <class Config>
using FetchStream = hls::stream<Word<Config>, kFetchWords<Config>>;
using Requests = hls::stream<ReadRequest, 64>;
template <class Config>
using Writes = hls::stream<WriteRequest<Config>, 64>;
// Words that a reader has taken out of a ring.
using Credits = hls::stream<std::uint16_t, 64>;

// Streams of one channel.
template <class Config>
struct ChannelPorts {
  Requests weight_requests, key_requests, load_requests;
  WeightStream<Config> weights;
  KeyStream<Config> keys;
  LoadStream<Config> loads;
  Credits weight_credits, key_credits;
  Writes<Config> writes;
  hls::stream<ChannelAnswer, 2> answers;
};

// Streams of the instruction fetch, on channel 0 of a core.
template <class Config>
struct FetchPorts {
  Requests requests;
  FetchStream<Config> words;
};

enum class Client : std::uint8_t { kLoad, kFetch, kKey, kWeight };

// In place of FetchPorts on channels without instructions.
struct NoFetch {};

// The channel's loop. Ends after a WriteRequest with `end` and a strobe of one:
// then loads that have not begun are dropped.
template <class Config, class Fetch>
void channel(hls::burst_maxi<Word<Config>> port, ChannelPorts<Config>& s, Fetch& fetch) {
  constexpr bool kFetches = !std::is_same_v<Fetch, NoFetch>;
  ReadRequest load{0, 0, 0, 0}, program{0, 0, 0, 0}, key{0, 0, 0, 0}, weight{0, 0, 0, 0};
  hls::stream<ReadRequest, kFlights> key_bursts;  // what of a burst of keys is wanted
  ReadRequest keys_moving{0, 0, 0, 0};
  Client client_of[kFlights];
  std::uint16_t words_of[kFlights];
#pragma HLS array_partition variable = client_of type = complete
#pragma HLS array_partition variable = words_of type = complete
  int first = 0, flights = 0, weight_flights = 0;
  int weight_room = kWRingWords<Config>, key_room = kKRingWords<Config>;
  std::uint16_t moving = 0;  // words left of the burst whose data comes now
  Client client = Client::kLoad;
  int owed = 0;
  std::uint16_t writing = 0;
  bool stop = false;

serve:
  while (true) {
#pragma HLS pipeline II = 1
#pragma HLS loop_tripcount min = 1000 max = 1000000
    bool moved = false;
    if (load.words == 0 && s.load_requests.read_nb(load)) moved = true;
    if constexpr (kFetches) {
      if (program.words == 0 && fetch.requests.read_nb(program)) moved = true;
    }
    if (key.words == 0 && s.key_requests.read_nb(key)) moved = true;
    if (weight.words == 0 && s.weight_requests.read_nb(weight)) moved = true;
    std::uint16_t credit = 0;
    if (s.weight_credits.read_nb(credit)) {
      weight_room += credit;
      moved = true;
    }
    if (s.key_credits.read_nb(credit)) {
      key_room += credit;
      moved = true;
    }

    // at most one burst is asked for
    if (flights < kFlights) {
      std::uint64_t at = 0;
      int words = 0;
      Client who = Client::kLoad;
      if (load.words) {
        words = smaller(load.words, kBurstWords);
        at = load.first;
        load.first += words;
        load.words -= words;
      } else if (kFetches && program.words) {
        who = Client::kFetch;
        words = smaller(program.words, kBurstWords);
        at = program.first;
        program.first += words;
        program.words -= words;
      } else if (key.words && key_room >= smaller(key.words, kBurstWords) && !stop) {
        who = Client::kKey;
        words = smaller(key.words, kBurstWords);
        at = key.first;
        key.first += words;
        key.words -= words;
        key_room -= words;
        const std::uint32_t there = words * kPortWords<Config> - key.skip;
        const std::uint32_t take = key.take < there ? key.take : there;
        key_bursts.write(ReadRequest{0, 0, key.skip, take});
        key.skip = 0;
        key.take -= take;
      } else if (weight.words && weight_flights < kWeightFlights && weight_room >= smaller(weight.words, kBurstWords) && !stop) {
        who = Client::kWeight;
        words = smaller(weight.words, kBurstWords);
        at = weight.first;
        weight.first += words;
        weight.words -= words;
        weight_room -= words;
        ++weight_flights;
      }
      if (words) {
        port.read_request(at, words);
        const int last = (first + flights) % kFlights;
        client_of[last] = who;
        words_of[last] = words;
        ++flights;
        moved = true;
      }
    }

    // one word arrives
    if (moving == 0 && flights > 0) {
      client = client_of[first];
      moving = words_of[first];
      first = (first + 1) % kFlights;
      --flights;
      if (client == Client::kWeight) --weight_flights;
      if (client == Client::kKey) keys_moving = key_bursts.read();
    }
    if (moving) {
      const Word<Config> word = port.read();
      --moving;
      moved = true;
      switch (client) {
        case Client::kLoad:
          s.loads.write(word);
          break;
        case Client::kFetch:
          if constexpr (kFetches) fetch.words.write(word);
          break;
        case Client::kKey: {
          const std::uint32_t there = kPortWords<Config> - keys_moving.skip;
          const std::uint32_t take = keys_moving.take < there ? keys_moving.take : there;
          s.keys.write(KeyWord<Config>{word, keys_moving.skip, static_cast<std::uint8_t>(take)});
          keys_moving.skip = 0;
          keys_moving.take -= take;
          break;
        }
        case Client::kWeight:
          s.weights.write(word);
          break;
      }
    }

    // one word leaves
    if (!stop && !s.writes.empty()) {
      const WriteRequest<Config> w = s.writes.read();
      moved = true;
      if (w.end) {
      responses:
        while (owed > 0) {
#pragma HLS loop_tripcount min = 0 max = 16
          port.write_response();
          --owed;
        }
        if (w.strobe != 0) {
          stop = true;
        } else {
          s.answers.write(ChannelAnswer{false});
        }
      } else {
        if (w.words) {
          if (owed == kWritesOwed) {
            port.write_response();
            --owed;
          }
          port.write_request(w.first, w.words);
          ++owed;
          writing = w.words;
        }
        port.write(w.data, w.strobe);
        --writing;
      }
    }
    if (stop && flights == 0 && moving == 0) break;
    if (!moved) FLIGHTLLM_IDLE();
  }

  // what was asked for and has not begun
  bool left = key.words || weight.words;
  ReadRequest rest;
drop:
  while (s.key_requests.read_nb(rest) || s.weight_requests.read_nb(rest)) {
#pragma HLS loop_tripcount min = 0 max = 1
    left = true;
  }
  std::uint16_t credit;
settle:
  while (s.weight_credits.read_nb(credit) || s.key_credits.read_nb(credit)) {
#pragma HLS loop_tripcount min = 0 max = 4
  }
  s.answers.write(ChannelAnswer{left});
}

}  // namespace flight

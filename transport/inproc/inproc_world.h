// A world whose ranks are threads of one process: the Wire of tests and of single-process runs.
#pragma once

#include <memory>

#include "transport/base/error.h"
#include "transport/wire/wire.h"

namespace dsl::inproc {

/// Makes the wires of `size` ranks. A send completes when the receiver has taken the message (no
/// buffering), so a program that would deadlock with large messages over a network deadlocks here
/// too, and runs into its deadline. Owns nothing after the wires are made: they share the state and
/// may outlive the World. Thread-safe.
class World {
 public:
  explicit World(int size);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int size() const;

  /// The wire of a rank, once per rank. Destroying it is this rank's end: operations of others that
  /// need it are kPeerLost from then on.
  std::unique_ptr<wire::Wire> make_wire(int rank);

  /// Fails pending and later operations of every rank with `reason`, as a failure detector would.
  void abort_all(const Error& reason);

 private:
  class State;
  class InprocWire;
  std::shared_ptr<State> state_;
};

}  // namespace dsl::inproc

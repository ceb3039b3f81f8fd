#include "tests/ptx_device/cuda_programs.h"

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "tests/ptx_device/fat_binary.h"
#include "tests/ptx_device/fault.h"

namespace dsl::test::ptx {

struct ProgramPart {
  const void* registered = nullptr;
  std::unique_ptr<Module> module;  // null: nobody has asked for a kernel
};

namespace {

struct RegisteredKernel {
  ProgramPart* part = nullptr;
  std::string name;
  const Kernel* kernel = nullptr;  // null: nobody has asked for it
};

struct Program {
  std::mutex mutex;
  std::deque<ProgramPart> parts;
  std::map<const void*, RegisteredKernel> kernels;
};

/// Made by what the program's objects do before main().
Program& program() {
  static Program all;
  return all;
}

}  // namespace

ProgramPart* add_program_part(const void* registered) {
  const std::lock_guard lock(program().mutex);
  return &program().parts.emplace_back(ProgramPart{registered, nullptr});
}

void add_kernel(ProgramPart* part, const void* function, std::string name) {
  const std::lock_guard lock(program().mutex);
  program().kernels.try_emplace(function, RegisteredKernel{part, std::move(name), nullptr});
}

const Kernel* find_kernel(const void* function) {
  const std::lock_guard lock(program().mutex);
  const auto found = program().kernels.find(function);
  if (found == program().kernels.end()) return nullptr;
  RegisteredKernel& registered = found->second;
  if (registered.kernel != nullptr) return registered.kernel;
  ProgramPart& part = *registered.part;
  if (part.module == nullptr) {
    const Result<std::string_view> text = registered_ptx(part.registered);
    if (!text) throw Fault(text.error().to_string());
    part.module = std::make_unique<Module>(std::string(*text));
  }
  return registered.kernel = &part.module->kernel(registered.name);
}

}  // namespace dsl::test::ptx

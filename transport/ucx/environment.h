// The UCX variables that this project sets unless the user has set them.
#pragma once

namespace dsl::ucx {

/// Sets variables that UCX reads from the environment only. Once per process, before the first UCX
/// context; as setenv, it must not run beside threads that read the environment.
void prepare_environment();

}  // namespace dsl::ucx

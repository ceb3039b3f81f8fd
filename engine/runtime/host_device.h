// What functions are marked with that host and devices share.
#pragma once

#ifdef __CUDACC__
#define DSL_HOST_DEVICE __host__ __device__
#else
#define DSL_HOST_DEVICE
#endif

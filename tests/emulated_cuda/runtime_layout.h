// What programs that were compiled against NVIDIA's header of the runtime take for granted. Holds
// for that header and for ours: whichever <cuda_runtime_api.h> is in the path.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

static_assert(cudaSuccess == 0 && cudaErrorInvalidValue == 1 && cudaErrorMemoryAllocation == 2);
static_assert(cudaErrorInsufficientDriver == 35 && cudaErrorInvalidDeviceFunction == 98);
static_assert(cudaErrorNoDevice == 100 && cudaErrorInvalidDevice == 101);
static_assert(cudaErrorInvalidResourceHandle == 400 && cudaErrorNotReady == 600);
static_assert(cudaErrorStreamCaptureUnsupported == 900);
static_assert(cudaMemcpyHostToDevice == 1 && cudaMemcpyDeviceToHost == 2);
static_assert(cudaMemcpyDeviceToDevice == 3 && cudaMemcpyDefault == 4);
static_assert(cudaDevAttrComputeCapabilityMajor == 75 && cudaDevAttrComputeCapabilityMinor == 76);
static_assert(cudaDevAttrMultiProcessorCount == 16);
static_assert(cudaDevAttrMaxSharedMemoryPerBlockOptin == 97);
static_assert(cudaFuncAttributeMaxDynamicSharedMemorySize == 8);
static_assert(cudaStreamNonBlocking == 1 && cudaEventDisableTiming == 2);
static_assert(cudaHostAllocDefault == 0 && cudaStreamCaptureModeThreadLocal == 1);
static_assert(cudaLaunchAttributeProgrammaticStreamSerialization == 6);

static_assert(sizeof(dim3) == 12);
static_assert(sizeof(cudaLaunchAttribute) == 72 && offsetof(cudaLaunchAttribute, val) == 8);
static_assert(sizeof(cudaLaunchConfig_t) == 56 && offsetof(cudaLaunchConfig_t, blockDim) == 12);
static_assert(offsetof(cudaLaunchConfig_t, dynamicSmemBytes) == 24);
static_assert(offsetof(cudaLaunchConfig_t, stream) == 32);
static_assert(offsetof(cudaLaunchConfig_t, attrs) == 40);
static_assert(offsetof(cudaLaunchConfig_t, numAttrs) == 48);
static_assert(offsetof(cudaDeviceProp, name) == 0 && offsetof(cudaDeviceProp, uuid) == 256);

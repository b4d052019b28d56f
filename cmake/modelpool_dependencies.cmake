# Finds what each part of modelpool links. The build and the installed package both use this file, so a
# user's project meets the same targets that the library was built with.
#
# What calls find_package() is a macro, so that its results land in the caller's scope.

include(CMakeFindDependencyMacro)

# Inside a package file a missing dependency makes the package not found; in the build it ends the build.
macro(modelpool_need)
    if(CMAKE_FIND_PACKAGE_NAME)
        find_dependency(${ARGN})
    else()
        find_package(${ARGN} REQUIRED)
    endif()
endmacro()

macro(modelpool_find_core)
    modelpool_need(Threads)
    modelpool_need(Boost 1.81)
endmacro()

macro(modelpool_find_hub)
    modelpool_need(CURL 7.85)
    modelpool_need(OpenSSL 3)
endmacro()

macro(modelpool_find_text)
    modelpool_need(simdjson)
    modelpool_need(ICU COMPONENTS uc)
    modelpool_find_pcre2()
endmacro()

macro(modelpool_find_image)
    modelpool_need(JPEG)
    modelpool_need(PNG)
    modelpool_find_webp()
endmacro()

# libwebp's CMake package is not in Debian's.
function(modelpool_find_webp)
    if(TARGET modelpool::webp)
        return()
    endif()
    find_path(MODELPOOL_WEBP_INCLUDE webp/decode.h)
    find_library(MODELPOOL_WEBP_LIBRARY webp)
    find_library(MODELPOOL_WEBPDEMUX_LIBRARY webpdemux)
    mark_as_advanced(MODELPOOL_WEBP_INCLUDE MODELPOOL_WEBP_LIBRARY MODELPOOL_WEBPDEMUX_LIBRARY)
    if(NOT MODELPOOL_WEBP_INCLUDE OR NOT MODELPOOL_WEBP_LIBRARY OR NOT MODELPOOL_WEBPDEMUX_LIBRARY)
        message(FATAL_ERROR "libwebp was not found (webp/decode.h and the libraries webp and webpdemux; on "
            "Debian the package libwebp-dev).")
    endif()
    add_library(modelpool::webp UNKNOWN IMPORTED GLOBAL)
    set_target_properties(modelpool::webp PROPERTIES
        IMPORTED_LOCATION "${MODELPOOL_WEBPDEMUX_LIBRARY}"
        INTERFACE_LINK_LIBRARIES "${MODELPOOL_WEBP_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${MODELPOOL_WEBP_INCLUDE}")
endfunction()

# PCRE2 comes without a CMake package on Debian.
function(modelpool_find_pcre2)
    if(TARGET modelpool::pcre2)
        return()
    endif()
    find_path(MODELPOOL_PCRE2_INCLUDE pcre2.h)
    find_library(MODELPOOL_PCRE2_LIBRARY pcre2-8)
    mark_as_advanced(MODELPOOL_PCRE2_INCLUDE MODELPOOL_PCRE2_LIBRARY)
    if(NOT MODELPOOL_PCRE2_INCLUDE OR NOT MODELPOOL_PCRE2_LIBRARY)
        message(FATAL_ERROR "PCRE2 was not found (pcre2.h and the library pcre2-8; on Debian the "
            "package libpcre2-dev).")
    endif()
    add_library(modelpool::pcre2 UNKNOWN IMPORTED GLOBAL)
    set_target_properties(modelpool::pcre2 PROPERTIES
        IMPORTED_LOCATION "${MODELPOOL_PCRE2_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${MODELPOOL_PCRE2_INCLUDE}")
endfunction()

# The folder of a libtorch (include/, lib/libtorch_cpu.so) that an entry of Torch_DIR or
# CMAKE_PREFIX_PATH stands for. An entry may be that folder itself, its share/cmake or
# share/cmake/Torch (what torch prints as its prefix path), or a prefix with a Python that has torch.
function(modelpool_libtorch_at entry result)
    file(GLOB wheels "${entry}/lib/python3*/site-packages/torch")
    foreach(candidate IN ITEMS "${entry}" "${entry}/../.." "${entry}/../../.." LISTS wheels)
        if(EXISTS "${candidate}/lib/libtorch_cpu.so" AND EXISTS "${candidate}/include/ATen/ATen.h")
            get_filename_component(candidate "${candidate}" ABSOLUTE)
            set(${result} "${candidate}" PARENT_SCOPE)
            return()
        endif()
    endforeach()
    set(${result} "" PARENT_SCOPE)
endfunction()

# Defines modelpool::libtorch from headers and libraries alone: libtorch's own package file asks for a CUDA
# toolkit wherever the wheel was built with CUDA, even when only its CPU half is linked. `fallback` is a
# prefix to look into after those the user named.
function(modelpool_find_libtorch fallback)
    if(TARGET modelpool::libtorch)
        return()
    endif()
    set(named ${Torch_DIR} $ENV{Torch_DIR} ${CMAKE_PREFIX_PATH})
    string(REPLACE ":" ";" from_environment "$ENV{CMAKE_PREFIX_PATH}")
    set(places ${named} ${from_environment} ${fallback})
    set(root "")
    foreach(place IN LISTS places)
        modelpool_libtorch_at("${place}" root)
        if(root)
            break()
        endif()
    endforeach()
    if(NOT root)
        list(JOIN places ", " looked_at)
        message(FATAL_ERROR "libtorch was not found in: ${looked_at}. Set Torch_DIR or CMAKE_PREFIX_PATH to "
            "a folder that holds include/ and lib/libtorch_cpu.so, for example a Python's "
            "site-packages/torch, or configure with -DMODELPOOL_WITH_TORCH=OFF.")
    endif()
    modelpool_check_libtorch("${root}")

    foreach(part IN ITEMS c10 torch_cpu)
        add_library(modelpool::${part} SHARED IMPORTED GLOBAL)
        set_target_properties(modelpool::${part} PROPERTIES
            IMPORTED_LOCATION "${root}/lib/lib${part}.so")
    endforeach()
    add_library(modelpool::libtorch INTERFACE IMPORTED GLOBAL)
    set_target_properties(modelpool::libtorch PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${root}/include;${root}/include/torch/csrc/api/include"
        INTERFACE_LINK_LIBRARIES "modelpool::torch_cpu;modelpool::c10")
    if(MODELPOOL_WITH_CUDA)
        modelpool_add_libtorch_cuda("${root}")
    endif()
    set(modelpool_libtorch_root "${root}" PARENT_SCOPE)
endfunction()

function(modelpool_check_libtorch root)
    set(version_file "${root}/include/torch/headeronly/version.h")
    if(NOT EXISTS "${version_file}")
        set(version_file "${root}/include/torch/csrc/api/include/torch/version.h")
    endif()
    file(STRINGS "${version_file}" lines REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
    string(REGEX REPLACE "[^0-9;]" "" version "${lines}")
    list(JOIN version "." version)
    if(version VERSION_LESS 2.7)
        message(FATAL_ERROR "libtorch in ${root} is version ${version}; modelpool needs 2.7 or later.")
    endif()

    # A library of the other ABI fails with pages of undefined references, so it is told apart here.
    file(STRINGS "${root}/lib/libc10.so" new_abi REGEX "torchCheckFail.*__cxx11" LIMIT_COUNT 1)
    file(WRITE "${CMAKE_BINARY_DIR}/CMakeFiles/modelpool_abi.cpp"
        "#include <string>\n#if !_GLIBCXX_USE_CXX11_ABI\n#error old\n#endif\nint main() { return 0; }\n")
    try_compile(our_new_abi "${CMAKE_BINARY_DIR}/CMakeFiles/modelpool_abi"
        SOURCES "${CMAKE_BINARY_DIR}/CMakeFiles/modelpool_abi.cpp")
    set(ours ${our_new_abi})
    unset(our_new_abi CACHE)  # the flags may be others next time
    if(ours AND NOT new_abi)
        message(FATAL_ERROR "libtorch in ${root} was built with _GLIBCXX_USE_CXX11_ABI=0, this build has "
            "1. Use a libtorch of the C++11 ABI (every wheel of version 2.7 or later is one).")
    elseif(new_abi AND NOT ours)
        message(FATAL_ERROR "libtorch in ${root} was built with _GLIBCXX_USE_CXX11_ABI=1, this build has "
            "0. Remove -D_GLIBCXX_USE_CXX11_ABI=0 from the compiler flags.")
    endif()
    message(STATUS "libtorch ${version}: ${root}")
endfunction()

# Nothing of modelpool calls torch_cuda by name: its kernels register themselves when it is loaded, so the
# linker must be kept from dropping it.
function(modelpool_add_libtorch_cuda root)
    if(NOT EXISTS "${root}/lib/libtorch_cuda.so")
        message(FATAL_ERROR "MODELPOOL_WITH_CUDA is on, but the libtorch in ${root} has no "
            "lib/libtorch_cuda.so. Use a CUDA build of libtorch or turn the option off.")
    endif()
    set_property(TARGET modelpool::libtorch APPEND PROPERTY INTERFACE_LINK_OPTIONS
        "LINKER:--no-as-needed,${root}/lib/libtorch_cuda.so,${root}/lib/libc10_cuda.so,--as-needed"
        "LINKER:--allow-shlib-undefined")
endfunction()

# How modelpool's own sources are compiled. None of it reaches a user's targets.

set(modelpool_compile_options
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Woverloaded-virtual
    -Wimplicit-fallthrough -Wdouble-promotion)
set(modelpool_link_options "")
if(MODELPOOL_WERROR)
    list(APPEND modelpool_compile_options -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # Once it has inlined a coroutine's frame, g++ 12 takes Asio's own new and delete for a mismatched pair.
    list(APPEND modelpool_compile_options -Wno-mismatched-new-delete)
endif()
if(MODELPOOL_SANITIZE)
    list(JOIN MODELPOOL_SANITIZE "," sanitizers)
    # -O1 keeps a sanitized run several times shorter than -O0 and its stacks still readable.
    list(APPEND modelpool_compile_options
        -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer -O1)
    list(APPEND modelpool_link_options -fsanitize=${sanitizers})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # Instrumented, g++ 12 sees uninitialized reads inside std::function and std::regex.
        list(APPEND modelpool_compile_options -Wno-maybe-uninitialized)
    endif()
endif()

# A compiled part of the library, or a program beside it.
function(modelpool_own_target target)
    target_compile_options(${target} PRIVATE ${modelpool_compile_options})
    target_link_options(${target} PRIVATE ${modelpool_link_options})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
    target_compile_features(${target} PRIVATE cxx_std_20)
    set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
endfunction()

# ccache sees through a precompiled header only with this sloppiness.
function(modelpool_use_ccache)
    find_program(MODELPOOL_CCACHE ccache)
    mark_as_advanced(MODELPOOL_CCACHE)
    if(MODELPOOL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
        # Another checkout's objects serve too, also while all its files are new.
        set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
            CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
            CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
            ${MODELPOOL_CCACHE} PARENT_SCOPE)
    endif()
endfunction()

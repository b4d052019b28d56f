# Every public header compiles alone, included twice, and reaches no banned dependency, not even through
# another header.

# modelpool_check_headers(<target> BANNED <path-fragment>...): one test per header, labelled "header".
# <target> gives the include folders.
function(modelpool_check_headers target)
    cmake_parse_arguments(arg "" "" "BANNED" ${ARGN})
    modelpool_public_headers(headers)
    foreach(header IN LISTS headers)
        string(MAKE_C_IDENTIFIER "${header}" name)
        add_test(NAME "header: ${header}"
            COMMAND ${CMAKE_COMMAND}
                "-DCOMPILER=${CMAKE_CXX_COMPILER}"
                "-DINCLUDES=$<TARGET_PROPERTY:${target},INTERFACE_INCLUDE_DIRECTORIES>"
                "-DHEADER=${header}"
                "-DUNIT=${CMAKE_CURRENT_BINARY_DIR}/header_hygiene/${name}"
                "-DBANNED=${arg_BANNED}"
                -P ${PROJECT_SOURCE_DIR}/cmake/check_header.cmake)
        set_tests_properties("header: ${header}" PROPERTIES LABELS header TIMEOUT 60)
    endforeach()
endfunction()

# One unit with all public headers, so that clang-tidy reads them also where no source includes them.
function(modelpool_tidy_headers target)
    modelpool_public_headers(headers)
    list(TRANSFORM headers PREPEND "#include <")
    list(TRANSFORM headers APPEND ">")
    list(JOIN headers "\n" text)
    set(unit ${CMAKE_CURRENT_BINARY_DIR}/public_headers.cpp)
    file(CONFIGURE OUTPUT ${unit} CONTENT "${text}\n")
    add_library(modelpool_public_headers OBJECT ${unit})
    target_link_libraries(modelpool_public_headers PRIVATE ${target})
endfunction()

# The one place where files are found and not listed: a header nobody listed must not escape the check.
function(modelpool_public_headers result)
    file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include
        ${PROJECT_SOURCE_DIR}/include/*.hpp)
    list(REMOVE_ITEM headers modelpool/impl/src.hpp)  # for one unit of a program that is not header-only
    set(${result} ${headers} PARENT_SCOPE)
endfunction()

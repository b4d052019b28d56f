# Compiles one header alone, included twice, and looks through all it includes for banned paths.
# Run by CTest: cmake -DCOMPILER=… -DINCLUDES=… -DHEADER=… -DUNIT=… -DBANNED=… -P check_header.cmake
cmake_minimum_required(VERSION 3.25)

get_filename_component(folder "${UNIT}" DIRECTORY)
file(MAKE_DIRECTORY "${folder}")
file(WRITE "${UNIT}.cpp" "#include <${HEADER}>\n#include <${HEADER}>\n")
list(TRANSFORM INCLUDES PREPEND "-I")
execute_process(
    COMMAND ${COMPILER} -std=c++20 ${INCLUDES} -Wall -Wextra -Werror -fsyntax-only
        -MD -MF "${UNIT}.d" "${UNIT}.cpp"
    RESULT_VARIABLE status
    ERROR_VARIABLE errors)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "<${HEADER}> does not compile alone:\n${errors}")
endif()

file(READ "${UNIT}.d" included)
string(REGEX REPLACE "[ \\\n]+" ";" included "${included}")
foreach(banned IN LISTS BANNED)
    foreach(file IN LISTS included)
        string(FIND "${file}" "/${banned}" position)
        if(NOT position EQUAL -1)
            message(FATAL_ERROR "<${HEADER}> reaches a banned header: ${file}")
        endif()
    endforeach()
endforeach()

# g++ 12 emits each coroutine of a header into every unit: they belong into impl/, which is compiled once.
if(HEADER STREQUAL "modelpool/modelpool.hpp")
    execute_process(
        COMMAND ${COMPILER} -std=c++20 ${INCLUDES} -DMODELPOOL_SEPARATE_COMPILATION -c "${UNIT}.cpp" -o "${UNIT}.o"
        COMMAND_ERROR_IS_FATAL ANY)
    file(SIZE "${UNIT}.o" n_bytes)
    set(n_most 200000)
    if(n_bytes GREATER n_most)
        message(FATAL_ERROR "including <${HEADER}> costs ${n_bytes} bytes of code, expected at most ${n_most}: "
            "does a public header define a coroutine?")
    endif()
endif()

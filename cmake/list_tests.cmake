# Writes the CTest entries of a Catch2 program.
# cmake -DPROGRAM=… -DOUTPUT=… -DLABELS=a,b -P list_tests.cmake
cmake_minimum_required(VERSION 3.25)

# Catch2 2 exits with the number of tests listed, so only a missing number is a failure.
function(names_of filter result)
    execute_process(COMMAND ${PROGRAM} --list-test-names-only ${filter}
        OUTPUT_VARIABLE names ERROR_VARIABLE errors RESULT_VARIABLE status)
    if(NOT status MATCHES "^[0-9]+$")
        message(FATAL_ERROR "${PROGRAM} could not list its tests: ${status}\n${names}\n${errors}")
    endif()
    # A semicolon or an unbalanced bracket in a name would break CMake's lists.
    string(REGEX MATCH "[][;]" odd "${names}")
    if(odd)
        message(FATAL_ERROR "${PROGRAM}: a test's name contains '${odd}', which CMake cannot carry.")
    endif()
    string(STRIP "${names}" names)
    string(REGEX REPLACE "\n+" ";" names "${names}")
    set(${result} "${names}" PARENT_SCOPE)
endfunction()

string(REPLACE "," ";" LABELS "${LABELS}")
# A test that others start as a program of its own is none by itself.
names_of("~[child]" all)
foreach(label IN LISTS LABELS)
    names_of("[${label}]" with_${label})
endforeach()

set(text "")
foreach(name IN LISTS all)
    # What Catch2 would read as syntax in a test's name.
    string(REPLACE "\\" "\\\\" spec "${name}")
    string(REPLACE "," "\\," spec "${spec}")
    set(labels "")
    set(limit_s 60)
    foreach(label IN LISTS LABELS)
        if(name IN_LIST with_${label})
            list(APPEND labels ${label})
        endif()
    endforeach()
    if("slow" IN_LIST labels)
        set(limit_s 1800)
    endif()
    # Without the warning a name that matches nothing would pass.
    string(APPEND text
        "add_test([==[${name}]==] [==[${PROGRAM}]==] --warn NoTests [==[${spec}]==])\n"
        "set_tests_properties([==[${name}]==] PROPERTIES TIMEOUT ${limit_s} LABELS [==[${labels}]==])\n")
endforeach()
file(WRITE "${OUTPUT}" "${text}")

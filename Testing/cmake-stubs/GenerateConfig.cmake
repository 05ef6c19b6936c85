# What the Extensions Index needs to know; written to extension.txt for the tests.
set(_extension "NAME=${PROJECT_NAME}\n")
foreach(_name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${_name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${_name} is not set")
  endif()
  string(APPEND _extension "${_name}=${EXTENSION_${_name}}\n")
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/extension.txt "${_extension}")

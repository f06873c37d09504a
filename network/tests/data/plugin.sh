#!/bin/sh
# A CNI plugin that notes how it was called, and then does what the script beside it says.
echo "$CNI_COMMAND $CNI_IFNAME [$CNI_ARGS] $(basename "$0") $(cat)" >> "$(dirname "$0")/calls"
. "$0.script"

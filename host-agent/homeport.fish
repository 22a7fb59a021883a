# SPDX-License-Identifier: MIT
#
# Completion for homeport(1) in fish. What could stand here `homeport complete` knows.

function __homeport_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lead (string match -r '^--[^=]*=' -- $words[-1])
    set -l path (string replace -r '^--[^=]*=' '' -- $words[-1])
    for line in ($words[1] complete $words[2..-1] 2>/dev/null)
        switch $line
            case :files
                for found in (__fish_complete_path $path)
                    echo "$lead$found"
                end
            case :folders
                for found in (__fish_complete_directories $path '')
                    echo "$lead$found"
                end
            case '*'
                echo $line
        end
    end
end

complete -c homeport -f -a '(__homeport_complete)'

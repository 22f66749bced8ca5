# The lines of candleanomaly, with the truth of each frame, in, a few lines for a person out; fails when the line was not
# inspected well.
# A part is flagged when the middle of a region lies in it, in any frame that shows it whole.

def holds($region):
    ($region.x + $region.width / 2) as $x | ($region.y + $region.height / 2) as $y
    | .x <= $x and $x < .x + .width and .y <= $y and $y < .y + .height;
def percent($of): if $of == 0 then 0 else 1000 * . / $of | round / 10 end;

length as $out
| [ .[] | .regions as $regions | .truth[]?
    | { index, defect, flagged: (. as $part | any($regions[]; . as $region | $part | holds($region))) } ]
| group_by(.index) | map({ defect: .[0].defect, flagged: any(.[]; .flagged) })
| map(select(.defect != "good")) as $defective | map(select(.defect == "good")) as $good
| ($defective | map(select(.flagged)) | length) as $found
| ($good | map(select(.flagged)) | length) as $alarms
| "frames in:      \($seeded)",
  "frames out:     \($out)",
  "seconds:        \($seconds)",
  "defects seeded: \($defective | length)",
  "defects found:  \($found) (\($found | percent($defective | length)) %)",
  "good parts:     \($good | length)",
  "false alarms:   \($alarms) (\($alarms | percent($good | length)) %)",
  if $out != $seeded then "a frame was lost" | error
  elif $found < 0.9 * ($defective | length) then "fewer than 90 % of the defective parts were flagged" | error
  elif $alarms > 0.02 * ($good | length) then "more than 2 % of the good parts were flagged" | error
  else empty end
